"""Bad arguments are refused at once, with a line that names option and value."""

from __future__ import annotations

import argparse
import importlib
import sys

import memory
import pytest
from harness import options
from patch import percentage
from report import NAMES

#: The others have no rounds.
REPEATED = [name for name in NAMES if name != "memory"]
BAD: list[tuple[str, str, str, str]] = [
    *((name, "--rounds", rounds, "is not 1 or more") for name in REPEATED for rounds in ("0", "-1")),
    ("kernel", "--rounds", "x", "invalid count value"),
    *(
        (name, "--models", models, "is not 1 or more")
        for name in ("kernel", "new_results", "memory", "gpu_kernel", "gpu_model")
        for models in ("0", "-2")
    ),
    *(
        ("new_results", "--pause", pause, "is not a number from 0 on")
        for pause in ("-1", "-0.1", "nan", "inf")
    ),
    *(("memory", "--gigabytes", size, "is not a number from 0.07 on") for size in ("0", "-1", "0.03", "inf")),
    *(("gpu_kernel", "--total", total, "is not a number from 1e+06 on") for total in ("0", "-1", "1", "nan")),
    *(("patch", "--sparsity", sparsity, "is not from 1 to 99") for sparsity in ("0", "100")),
    ("report", "--results", "nowhere", "there is no folder nowhere"),
    ("kernel", "--out", "/", "/ cannot be written"),
    ("kernel", "--out", "/dev/null/kernel.json", "/dev/null/kernel.json cannot be written"),
    ("memory", "--folder", "nowhere/here", "nowhere/here is no folder, and there is none to make it in"),
]


@pytest.mark.parametrize(("script", "option", "value", "told"), BAD)
def test_bad_arguments(
    script: str,
    option: str,
    value: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", option, value])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(script).main()
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: " in line
    assert value in line
    assert told in line


def test_numbers() -> None:
    assert (options.count("1"), options.number_from(0)("0"), options.number_from(0.5)("5e-1")) == (1, 0, 0.5)
    with pytest.raises(ValueError, match="could not convert"):
        options.number_from(0)("much")


def test_a_percentage_is_from_1_to_99() -> None:
    assert (percentage("1"), percentage("99")) == (1, 99)
    for outside in ("0", "100"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{outside} is not from 1 to 99$"):
            percentage(outside)


def test_the_smallest_model_has_a_matrix() -> None:
    assert len(memory.shapes(memory.SMALLEST_GB)) == 1
