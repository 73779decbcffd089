"""Pure models of the documents that rktpy reads and writes: bytes or dict in, records out, no I/O."""

if not __name__.startswith("rktpy."):  # a second copy of a class is a different class
    raise ImportError("import this package as rktpy.formats")
