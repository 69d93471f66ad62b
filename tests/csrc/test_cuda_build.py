"""The CUDA side compiles, without warnings, for all architectures, into what its kernels are meant to be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_calls import load
from native_builds import ROOT, build, run, tool

KERNELS = ROOT / "csrc" / "cuda"
#: How the module's device code is compiled, but for the architecture (csrc/cuda/CMakeLists.txt).
COMPILE = ("-std=c++17", "-O3", "--fmad=false", "-Werror=all-warnings")


#: SignMean, MagMax and Ties (csrc/methods.h), each of which the general kernels are compiled for.
ACCUMULATIONS = 3


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("nvcc is not installed")
    return found


@pytest.fixture(scope="module")
def ptx(nvcc: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The device code of every kernel, by its mangled name."""
    code = dict[str, str]()
    for source in ("magnitudes", "merge", "patch"):
        target = tmp_path_factory.mktemp("ptx") / f"{source}.ptx"
        run(nvcc, *COMPILE, "-arch=compute_80", "-ptx", KERNELS / f"{source}.cu", "-o", target)
        _, *kernels = re.split(r"\n(?=(?:\.\w+ )?\.entry )", target.read_text())
        for kernel in kernels:
            found = re.search(r"\.entry (\w+)\(", kernel)
            assert found is not None, kernel[:200]
            code[found[1]] = kernel
    return code


def kernel(ptx: dict[str, str], *parts: str) -> str:
    (found,) = (code for name, code in ptx.items() if all(part in name for part in parts))
    return found


@pytest.mark.slow
def test_option_decides_whatever_was_built_before(nvcc: str, build_root: Path) -> None:
    folder = build(build_root / "cuda", "_cuda", "-DNEGMERGE_CUDA=ON", "-DNEGMERGE_WERROR=ON")
    [module] = folder.rglob("_cuda.*.so")
    cuda = load(module)
    assert issubclass(cuda.CudaError, RuntimeError)
    devices, reason = [], ""
    try:
        devices = cuda.devices()
    except RuntimeError as error:
        reason = str(error)
    assert devices or "CUDA" in reason
    if not devices:
        with pytest.raises(cuda.CudaError) as caught:
            cuda.merge(0, 0, 0, 0, 1.0, 1, [], [], [], [], [], [], [], [], (), (), True, True, 0, 0, 0, 0)
        message, number = caught.value.args
        assert "CUDA" in message
        assert number > 0

    build(folder, "help", "-DNEGMERGE_CUDA=OFF")
    assert "_cuda" not in run(tool("ninja"), "-C", folder, "-t", "targets", "all")


def architectures(nvcc: str) -> list[str]:
    """Of those that the module is built for, the ones that this nvcc knows."""
    built = re.findall(r"\b(\d+)-real", (KERNELS / "CMakeLists.txt").read_text())
    known = re.findall(r"sm_(\d+)$", run(nvcc, "--list-gpu-code"), re.MULTILINE)
    return [number for number in dict.fromkeys([*built, "120"]) if number in known]


@pytest.mark.slow
def test_no_kernel_needs_a_stack(nvcc: str, tmp_path: Path) -> None:
    """Neither for registers that are spilled nor for arrays that are indexed at run time."""
    numbers = architectures(nvcc)
    assert {"80", "90"} <= set(numbers)
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    for source in ("magnitudes", "merge", "patch", "upload"):
        command = [nvcc, *COMPILE, *targets, "--threads=2", "-Xptxas=-v", "-c", str(KERNELS / f"{source}.cu")]
        ran = subprocess.run(
            [*command, "-o", str(tmp_path / f"{source}.o")], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        report = ran.stdout + ran.stderr
        frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", report)
        assert len(frames) >= len(numbers), report
        bad = re.findall(r"(Function properties.*\n.*[1-9]\d* bytes (?:stack|spill).*\n.*)", report)
        assert not bad, "\n".join(bad)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [0, 1, 2, 3], ids=["f64", "f32", "f16", "bf16"])
def test_plain_kernels_take_sixteen_bytes_at_a_time(ptx: dict[str, str], dtype: int) -> None:
    """The base and the first models are all on their way before the first is used; so are further models."""
    code = kernel(ptx, "plain_kernel", f"5DtypeE{dtype}E")
    steps = re.findall(r"ld\.global\.cs\.v4\.\w32|(?:add|sub)(?:\.rn)?\.f(?:32|64)", code)
    order = "".join("l" if step.startswith("ld") else "a" for step in steps)
    assert [len(loads) for loads in re.findall("l+", order)] == [1 + 4, 2, 1]
    assert re.search(r"st\.global\.cs\.v4\.\w32", code)


@pytest.mark.slow
def test_no_operation_is_fused_or_approximated(ptx: dict[str, str]) -> None:
    assert len(ptx) == 4 + 2 * ACCUMULATIONS + 1 + 2 + 3
    for name, code in ptx.items():
        assert not re.search(r"\bfma\b|\bfma\.", code), name
        assert ".ftz" not in code, name
        assert ".approx" not in code, name
        assert "div.full" not in code, name
    for parts in (
        ("plain_kernel", "5DtypeE1E"),
        ("general_kernel", "8SignMeanEfE"),
        ("general_kernel", "4TiesEfE"),
    ):
        assert "div.rn.f32" in kernel(ptx, *parts)
