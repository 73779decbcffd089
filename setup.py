"""Build of the one C extension; everything else is in pyproject.toml.

The extension is optional: without a compiler ``rktpy.linux.syscalls`` uses the ctypes fallback, which is slower to load.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "rktpy.linux._sys",
            ["rktpy/linux/_sys.c"],
            define_macros=[("Py_LIMITED_API", "0x030b0000")],
            extra_compile_args=["-O2", "-Wall", "-Wextra"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
