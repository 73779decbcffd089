"""What the runtime tells: errors and warnings, to standard error and to the file that ``--log`` names, as text or JSON.

podman reads the whole file as one JSON object after an error, so warnings are kept back and come only when there was none.
Hot-path module.
"""

from __future__ import annotations

import os
import time

from rktpy.formats.jsondoc import dump
from rktpy.log import harmless

_state: dict[str, str] = {"file": "", "format": "text"}
_warnings: list[str] = []


def set_log(path: str, form: str, *, debug: bool) -> None:
    """Where messages go from now on."""
    _state["file"], _state["format"], _state["debug"] = path, form, "1" if debug else ""


def speaks() -> bool:
    """Whether ``--debug`` is on."""
    return bool(_state.get("debug"))


def warn(message: str) -> None:
    """Something is not as it was asked for, and the container runs all the same."""
    _warnings.append(message)


def debug(message: str) -> None:
    """Only with ``--debug``."""
    if _state.get("debug"):
        _write("debug", message)


def flush_warnings() -> None:
    """Tell what was kept back, after the work was done without an error."""
    for message in _warnings:
        _write("warning", message)
    _warnings.clear()


def fail(message: str) -> None:
    """Tell of the error that ends this program."""
    if _state["file"]:
        _write("error", message)
    else:
        _to_stderr("error", message)
        return
    try:
        os.write(2, f"{harmless(message)}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def _write(level: str, message: str) -> None:
    if not _state["file"]:
        _to_stderr(level, message)
        return
    try:
        fd = os.open(_state["file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        os.write(fd, _line(level, message))
    except OSError:
        pass
    finally:
        os.close(fd)


def _to_stderr(level: str, message: str) -> None:
    try:
        os.write(2, _line(level, message))
    except OSError:
        pass


def _line(level: str, message: str) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    message = harmless(message)
    if _state["format"] == "json":
        text = message.encode("utf-8", "backslashreplace").decode()
        return dump({"level": level, "msg": text, "time": now}) + b"\n"
    from _json import encode_basestring

    return f"time={encode_basestring(now)} level={level} msg={encode_basestring(message)}\n".encode("utf-8", "backslashreplace")
