"""stage1-systemd: pods of several apps in namespaces of their own, with the host's systemd as the pod's first process."""

if not __name__.startswith("rktpy."):
    raise ImportError("import this package as rktpy.stage1.systemd")
