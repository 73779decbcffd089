"""stage1-oci: pods of several apps in containers of any OCI runtime, which share the pod's namespaces."""

if not __name__.startswith("rktpy."):
    raise ImportError("import this package as rktpy.stage1.oci")
