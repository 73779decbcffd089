"""rktpy-stage1-oci(7) says what stage1-oci does, as far as that can be checked by machine."""

from __future__ import annotations

import re
from pathlib import Path

from rktpy.stage1.oci import halt, paths, runtime

PAGE = Path(__file__).parents[2] / "docs/man/man7/rktpy-stage1-oci.7"


def text() -> str:
    """The page without its marks."""
    return re.sub(r"\\f[BIR]|\\\(aq", "", PAGE.read_text()).replace("\\-", "-")


def test_names_and_numbers() -> None:
    page = text()
    assert f"called \\(lq{paths.SANDBOX}\\(rq" in page
    assert f"after {halt.PATIENCE_S:.0f} seconds SIGKILL" in page
    assert f"else {runtime.OWN}" in page
    for path in (paths.RUNTIME_FILE, paths.STATE, paths.APPS, paths.FIRST_FAILURE):
        assert path.removeprefix(f"{paths.OCI}/") in page, path


def test_operations_of_runtimes() -> None:
    """Each operation that is asked of a runtime is in the list of what it has to know."""
    asked = set()
    for file in Path(runtime.__file__).parent.glob("*.py"):
        asked |= set(re.findall(r'runtime\.command\(\s*"(\w+)"', file.read_text()))
    listed = text().partition("if its command line is runcs:")[2].partition(".SH")[0]
    assert asked and all(re.search(rf"\b{name}\b", listed) for name in asked), asked
