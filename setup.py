"""Build of what is written in C; everything else is in pyproject.toml.

The extension is optional: without a compiler ``rktpy.linux.syscalls`` uses the ctypes fallback, which is slower to load. So is
the program that hands over to an image's. The monitors of stage1-systemd and stage1-oci and the first process of stage1-kvm are
not: without them these stage1s say so.
"""

import os
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

_WITHOUT_LIBRARY = (
    ["-static", "-s", "-nostdlib", "-Wl,--build-id=none"],
    ["-O2", "-Wall", "-Wextra", "-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-pie"],
)
_WITH_LIBRARY = (["-static", "-s"], ["-O2", "-Wall", "-Wextra"])
#: Static programs: what the linker and the compiler need. The source is the file beside it, or for the first process of a virtual
#: machine all in its directory.
PROGRAMS = {
    "rktpy/stage1/systemd/monitor": _WITH_LIBRARY,
    "rktpy/stage1/oci/monitor": _WITH_LIBRARY,
    "rktpy/stage1/oci/pause": _WITH_LIBRARY,
    "rktpy/stage1/kvm/guest/init": _WITH_LIBRARY,
    "rktpy/isolate/handoff": _WITHOUT_LIBRARY,
    "rktpy/isolate/confine": _WITHOUT_LIBRARY,
    "rktpy/oci/launch": _WITHOUT_LIBRARY,
}


class BuildC(build_ext):
    """Builds the extension, and the programs beside their sources (for an editable installation) or in the build directory."""

    def run(self) -> None:
        super().run()
        for path, (link, compile_) in PROGRAMS.items():
            try:
                self.build_program(path, link, compile_)
            except Exception as error:
                self.warn(f"{path} could not be built: {error}")

    def build_program(self, path: str, link: list[str], compile_: list[str]) -> None:
        directory = os.path.dirname(path)
        sources = sorted(glob(f"{directory}/*.c")) if os.path.basename(path) == "init" else [f"{path}.c"]
        objects = self.compiler.compile(sources, output_dir=self.build_temp, extra_postargs=compile_)
        target = path if self.inplace else os.path.join(self.build_lib, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        self.compiler.link_executable(objects, target, extra_postargs=link)

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), *[os.path.join(self.build_lib, path) for path in PROGRAMS]]


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
