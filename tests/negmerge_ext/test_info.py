"""What ``info()`` says about an installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from negmerge_ext import info, native, native_cuda


def test_it_is_plain_data() -> None:
    found = info()
    assert json.loads(json.dumps(found)) == found
    assert found["instruction_sets"]["active"] in found["instruction_sets"]["available"]
    assert found["threads"] == native.default_threads() > 0
    assert found["versions"]["numpy"].count(".") >= 1


def test_the_forced_instruction_set_is_that_of_loading() -> None:
    program = (
        "import os, negmerge_ext.native\n"
        "os.environ['NEGMERGE_ISA'] = 'avx512'\n"
        "print(negmerge_ext.info()['instruction_sets']['forced'])"
    )
    for forced, told in (({"NEGMERGE_ISA": "scalar"}, "scalar"), ({}, "None")):
        environment = {key: value for key, value in os.environ.items() if key != "NEGMERGE_ISA"} | forced
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == told


def test_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert info()["versions"]["torch"] is None


class Cuda(ModuleType):
    """A CUDA module that answers as told."""

    def __init__(self, answer: list[dict[str, str]] | Exception) -> None:
        super().__init__("negmerge_ext._cuda")
        self.__spec__ = ModuleSpec("negmerge_ext._cuda", None)
        self.answer = answer

    def devices(self) -> list[dict[str, str]]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "devices", "reason"),
    [
        ([{"name": "GPU"}], [{"name": "GPU"}], None),
        ([], [], "no CUDA device is visible"),
        (RuntimeError("driver too old"), [], "driver too old"),
    ],
)
def test_cuda_devices_or_the_reason(
    answer: list[dict[str, str]] | Exception,
    devices: list[dict[str, str]],
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "negmerge_ext._cuda", Cuda(answer))
    assert info()["cuda"] == {"built": True, "devices": devices, "reason": reason}


def test_without_the_cuda_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_cuda, "find_spec", lambda name: None)
    assert info()["cuda"] == {"built": False, "devices": [], "reason": "built without CUDA"}
