"""Paths in the root of a pod's systemd that are ours, relative to it; those of the contract are in rktpy.formats.stage1.

Hot-path module.
"""

from __future__ import annotations

UNITS_DIR = "etc/systemd/system"
#: Its write end is systemd's until everything has stopped.
OVER_FIFO = "rkt/over"
#: What apps' lines are written on, or the terminal of an interactive app.
TERMINAL = "dev/rktpy-terminal"
STATUS_SCRIPT = "rkt/exited"
FIRST_FAILURE = "rkt/first-failure"
#: WorkingDirectory= of apps, which has no quoting: a link to the second path, itself one to the working directory in an app's
#: root and to / in the pod's, where systemd goes for ExecStopPost=: the end is noted whatever the app's is.
WORKING_DIRECTORY = ("/dev/.working-directory", "/dev/.working-directory-here")
#: In the root of an app that Landlock restricts, or that has an SELinux context: the program that sees to it
#: (rktpy/isolate/confine.c).
CONFINE = "dev/.rktpy-confine"
