"""rktpy: a daemonless pod runtime for ACI and OCI images.

This file imports nothing: every hot command pays for what stands here.
"""

__version__ = "0.1.0"
