"""The CUDA side is compiled, for all architectures, into what its kernels are meant to be."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from cuda_calls import load
from native_builds import INSTALLED, ROOT, build, locked, run, tool

#: Sources with device code.
SOURCES = ("magnitudes", "merge", "patch", "upload")
#: Capabilities of no desktop, and of one that may be none.
JETSONS = ("87", "88", "110")
#: SignMean, MagMax and Ties (csrc/methods.h), each of which the general kernels are compiled for.
ACCUMULATIONS = 3


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("nvcc is not installed")
    return found


@pytest.fixture(scope="module")
def all_commands(nvcc: str, build_root: Path) -> dict[str, list[str]]:
    """How the build compiles each source, by its name."""
    folder = build(
        *(build_root / "cuda_commands", "help", "-DNEGMERGE_CUDA=ON", "-DNEGMERGE_WERROR=ON"),
        "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
    )
    listed = json.loads((folder / "compile_commands.json").read_text())
    return {Path(entry["file"]).name: shlex.split(entry["command"]) for entry in listed}


@pytest.fixture(scope="module")
def commands(all_commands: dict[str, list[str]]) -> dict[str, list[str]]:
    """Those of the sources with device code."""
    found = {Path(name).stem: command for name, command in all_commands.items() if name.endswith(".cu")}
    assert set(found) == set(SOURCES)
    return found


def into(command: list[str], target: Path, *options: str) -> list[str]:
    """The command with another target and further options."""
    place = command.index("-o") + 1
    return [*command[:place], str(target), *command[place + 1 :], *options]


def for_architecture(command: list[str], number: str) -> list[str]:
    """The command for the virtual architecture of that number alone, and down to PTX."""
    kept = [word for word in command if not word.startswith("--generate-code")]
    return [f"-arch=compute_{number}" if word == "-c" else word for word in kept] + ["-ptx"]


@pytest.fixture(scope="module", params=["80", "100"])
def ptx(request: pytest.FixtureRequest, commands: dict[str, list[str]], build_root: Path) -> dict[str, str]:
    """The device code of every kernel, by its mangled name, for an older and a newer capability."""
    code = dict[str, str]()
    for source in ("magnitudes", "merge", "patch"):
        target = build_root / f"{source}-{request.param}.ptx"
        with locked(target):
            if not target.exists():
                unfinished = target.with_suffix(".unfinished")
                run(*into(for_architecture(commands[source], request.param), unfinished))
                unfinished.rename(target)
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
def test_option_decides_whatever_was_configured_before(nvcc: str, build_root: Path) -> None:
    for option in ("ON", "OFF", "ON"):
        folder = build(build_root / "cuda", "help", f"-DNEGMERGE_CUDA={option}")
        targets = run(tool("ninja"), "-C", folder, "-t", "targets", "all")
        assert ("_cuda" in targets) == (option == "ON")


@pytest.fixture(scope="module")
def installed() -> Path:
    found = [*(ROOT / "negmerge_ext").glob("_cuda.*.so")]
    if not found:
        pytest.skip("installed without the CUDA module")
    return found[0]


def test_the_installed_module_says_why_there_is_no_device(installed: Path) -> None:
    cuda = load(installed)
    assert issubclass(cuda.CudaError, RuntimeError)
    devices, reason = [], ""
    try:
        devices = cuda.devices()
    except RuntimeError as error:
        reason = str(error)
    assert devices or "CUDA" in reason or "no NVIDIA driver" in reason
    if not devices:
        with pytest.raises(cuda.CudaError) as caught:
            cuda.merge(0, 0, 0, 0, 1.0, 1, [], [], [], [], [], [], [], [], (), (), True, True, 0, 0, 0, 0, [])
        message, number = caught.value.args
        assert message == reason
        assert number > 0


@pytest.mark.slow
@pytest.mark.parametrize("source", ["cudart_device", "current_device", "devices", "preload"])
def test_what_only_the_real_module_has_compiles_without_warnings(
    source: str, all_commands: dict[str, list[str]], tmp_path: Path
) -> None:
    """All other sources without device code are compiled for the kernels that run on the host."""
    run(*into(all_commands[f"{source}.cpp"], tmp_path / "object"))


def architectures(command: list[str]) -> dict[str, set[str]]:
    """Numbers of the real architectures that a command compiles for, and of those it keeps PTX for."""
    kinds: dict[str, set[str]] = {"sm": set(), "compute": set()}
    for word in command:
        if word.startswith("--generate-code"):
            for kind, number in re.findall(r"\b(sm|compute)_(\d+)", word.partition("code=[")[2]):
                kinds[kind].add(number)
    return kinds


def test_every_capability_from_7_5_on_has_code(nvcc: str, commands: dict[str, list[str]]) -> None:
    """Code of a capability serves those with the same first number that follow; PTX, all that follow.

    Code of a desktop need not run on a Jetson.
    """
    listed = run(nvcc, "--list-gpu-code")
    known = [number for number in re.findall(r"^sm_(\d+)$", listed, re.MULTILINE) if int(number) >= 75]
    assert {"75", "90", "120"} <= set(known)
    for source in SOURCES:
        built = architectures(commands[source])
        for number in known:
            same = {one for one in built["sm"] if one[:-1] == number[:-1] and one[-1] <= number[-1]}
            if number in JETSONS:
                assert number in same or any(int(one) <= int(number) for one in built["compute"])
            else:
                assert same, (source, number)
        newest = max(built["sm"], key=int)
        assert newest in built["compute"], "nothing for what comes after"


def test_no_kernel_needs_a_stack(installed: Path) -> None:
    """Neither for registers that are spilled nor for arrays indexed at run time."""
    usage = run(tool("cuobjdump"), "--dump-resource-usage", installed)
    cache = (INSTALLED / "CMakeCache.txt").read_text()
    [asked] = re.findall(r"^NEGMERGE_CUDA_ARCHITECTURES:STRING=(.*)", cache, re.MULTILINE)
    found = re.findall(r"elf code:\n=+\narch = sm_(\d+)", usage)
    assert set(found) == set(re.findall(r"\d+", asked)) or asked == "native"
    kernels = re.findall(r"Function (\w+):\s+REG:\d+ STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    for part in ("check", "count", "general", "move", "norm", "plain", "remember", "upload"):
        assert any(f"{part}_kernel" in name for name, *_ in kernels), part
    assert not [kernel for kernel in kernels if kernel[1:] != ("0", "0")]


def test_the_race_for_the_sanitizer_compiles(nvcc: str, tmp_path: Path) -> None:
    """And its kernel has a name that ``tools/gpu_sanitize.py`` selects, and neither barrier nor order."""
    target = tmp_path / "race.ptx"
    source = ROOT / "tests" / "csrc" / "race.cu"
    run(
        nvcc,
        "-std=c++17",
        "-lineinfo",
        "-Werror=all-warnings",
        "-arch=compute_90",
        "-ptx",
        source,
        "-o",
        target,
    )
    code = target.read_text()
    [name] = re.findall(r"\.entry (\w+)\(", code)
    assert "negmerge" in name
    assert re.search(r"st\.shared.*ld\.shared", code, re.DOTALL)
    assert "bar." not in code


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [0, 1, 2, 3], ids=["f64", "f32", "f16", "bf16"])
def test_plain_kernels_take_sixteen_bytes_at_a_time(ptx: dict[str, str], dtype: int) -> None:
    """The base and the first models are all on their way before the first is used; so are further models."""
    code = kernel(ptx, "plain_kernel", f"5DtypeE{dtype}E")
    steps = re.findall(r"ld\.global\.v4\.\w32|(?:add|sub)(?:\.rn)?\.f(?:32|64)", code)
    order = "".join("l" if step.startswith("ld") else "a" for step in steps)
    assert [len(loads) for loads in re.findall("l+", order)] == [1 + 4, 2, 1]
    assert re.search(r"st\.global\.cs\.v4\.\w32", code)


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", ["8SignMean", "6MagMax", "4Ties"])
def test_general_kernels_take_four_elements_at_a_time(ptx: dict[str, str], accumulation: str) -> None:
    """16 bytes of fp32, 8 of 16-bit dtypes, 32 of fp64: of the base, of four models together, of one."""

    def count(code: str, access: str) -> int:
        return len(re.findall(access, code))

    single = kernel(ptx, "general_kernel", f"{accumulation}EfE")
    assert count(single, r"ld\.global\.v4\.\w32") >= 1 + 4 + 1
    assert count(single, r"ld\.global\.v2\.\w32") >= 2 * (1 + 4 + 1)
    assert count(single, r"st\.global\.cs\.v4\.\w32") >= 1
    assert count(single, r"st\.global\.cs\.v2\.\w32") >= 2
    double = kernel(ptx, "general_kernel", f"{accumulation}EdE")
    assert count(double, r"ld\.global\.v4\.\w32") >= (2 + 1) * (1 + 4 + 1)
    assert count(double, r"st\.global\.cs\.v4\.\w32") >= 2 + 1


@pytest.mark.slow
def test_no_operation_is_fused_or_approximated(ptx: dict[str, str]) -> None:
    assert len(ptx) == 4 + 2 * ACCUMULATIONS + 1 + 2 + 3
    for name, code in ptx.items():
        assert not re.search(r"\b(?:fma\b|mad\.(?:rn\.)?f)", code), name
        assert ".ftz" not in code, name
        assert ".approx" not in code, name
        assert "div.full" not in code, name
    for parts in (
        ("plain_kernel", "5DtypeE1E"),
        ("general_kernel", "8SignMeanEfE"),
        ("general_kernel", "4TiesEfE"),
    ):
        assert "div.rn.f32" in kernel(ptx, *parts)
