"""stage1-kvm: pods of several apps in a virtual machine, with a kernel of its own."""

if not __name__.startswith("rktpy."):
    raise ImportError("import this package as rktpy.stage1.kvm")
