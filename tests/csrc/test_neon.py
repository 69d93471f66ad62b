"""The NEON kernels and the ARM build of everything around them, in an emulator."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_builds import ROOT, build, objects, run, tool
from native_cases import check_results, random_cases, write_cases

CROSS = "aarch64-linux-gnu"


@pytest.fixture(scope="module")
def arm_objects(build_root: Path) -> dict[str, Path]:
    compiler = tool(f"{CROSS}-g++")
    folder = build(
        build_root / "arm",
        "negmerge_cpu",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
    )
    return objects(folder)


@pytest.fixture(scope="module")
def program(arm_objects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arm") / "run_cases"
    source = ROOT / "tests" / "csrc" / "run_cases.cpp"
    run(tool(f"{CROSS}-g++"), "-std=c++17", "-O1", "-static", source, *arm_objects.values(), "-o", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neon", "scalar"])
def test_merges_on_arm(program: Path, tmp_path: Path, name: str) -> None:
    cases = random_cases(14, 360)
    write_cases(tmp_path / "cases", cases, name)
    run(tool("qemu-aarch64"), program, tmp_path / "cases", tmp_path / "results")
    check_results(tmp_path / "results", cases)


@pytest.mark.slow
def test_no_operation_is_fused_on_arm(arm_objects: dict[str, Path]) -> None:
    for name, path in arm_objects.items():
        code = run(tool(f"{CROSS}-objdump"), "-d", "--no-show-raw-insn", path)
        fused = {line.split("\t")[1] for line in code.splitlines() if line.count("\t") >= 2} & {
            *("fmadd", "fmsub", "fnmadd", "fnmsub", "fmla", "fmls"),
        }
        assert not fused, f"{name} has {fused}"
