"""stage0: prepare, run and the life cycle of pods."""

if not __name__.startswith("rktpy."):
    raise ImportError("import this package as rktpy.stage0")
