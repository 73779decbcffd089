"""Build of what is written in C; everything else is in pyproject.toml.

The extension is optional: without a compiler ``rktpy.linux.syscalls`` uses the ctypes fallback, which is slower to load. The
monitor of stage1-systemd, a small static program, is not: without it that stage1 says so.
"""

import os

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MONITOR = "rktpy/stage1/systemd/monitor"


class BuildC(build_ext):
    """Builds the extension, and the program beside its source (for an editable installation) or in the build directory."""

    def run(self) -> None:
        super().run()
        try:
            self.build_monitor()
        except Exception as error:
            self.warn(f"stage1-systemd will not run, its monitor could not be built: {error}")

    def build_monitor(self) -> None:
        compiler = self.compiler
        objects = compiler.compile([f"{MONITOR}.c"], output_dir=self.build_temp, extra_postargs=["-O2", "-Wall", "-Wextra"])
        target = MONITOR if self.inplace else os.path.join(self.build_lib, MONITOR)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        compiler.link_executable(objects, target, extra_postargs=["-static", "-s"])

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), os.path.join(self.build_lib, MONITOR)]


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
    cmdclass={"build_ext": BuildC},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
