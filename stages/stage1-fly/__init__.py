"""stage1-fly: one app in a chroot with a mount namespace of its own, in the host's other namespaces."""

if not __name__.startswith("rktpy."):
    raise ImportError("import this package as rktpy.stage1.fly")
