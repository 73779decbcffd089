"""The documents of the OCI runtime specification 1.2, with the parts of 1.3 that Linux has: configuration, state, features.

Each record says which section it follows. Unknown members are kept: the document that was read stays with the configuration.
"""
