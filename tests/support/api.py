"""A client of the API service, generated from the .proto as clients in the field are."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.conftest import ROOT, Rktpy
from tests.support.services import Service

# The tests start programs while the client's threads run; gRPC would comment on every fork.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def generate(directory: Path) -> tuple[ModuleType, ModuleType]:
    """The modules with the messages and the stub, made by protoc in ``directory``."""
    argv = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/formats/api", "--python_out=.", "--grpc_python_out=."]
    subprocess.run([*argv, "v1alpha.proto"], cwd=directory, check=True)
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module("v1alpha_pb2"), importlib.import_module("v1alpha_pb2_grpc")
    finally:
        sys.path.remove(str(directory))


class API(Service):
    """The API service."""

    def __init__(self, rktpy: Rktpy, directory: Path, listen: str = "localhost:0", before: tuple[str, ...] = ()) -> None:
        command = ("api-service", f"--listen={listen}") if listen else ("api-service",)
        super().__init__(rktpy, directory, *command, before=before)

    @property
    def address(self) -> str:
        return self.said(r"Listening on (\S+:\d+)\n(.*\n)*.*API service running")[1]


def names(messages: Any) -> set[str]:
    """The IDs of pods or images."""
    return {message.id for message in messages}
