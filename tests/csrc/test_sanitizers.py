"""The kernel tests once more, in a build with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from native_builds import ROOT, build, run, tool

TESTS = ROOT / "tests" / "negmerge_ext"

OVERRUN = """
import numpy as np
from buffers import Buffer
from negmerge_ext import native

bits = Buffer(np.full(40, 0xFF, np.uint8))
source, target = Buffer(np.zeros(80, np.uint32)), Buffer(np.zeros(320, np.uint32))
native.gather(320, 4, source.address, bits.address, target.address)
"""


OPTIONS = ("-DNEGMERGE_SANITIZE=ON", "-DNEGMERGE_CUDA_EMULATED=ON")


@pytest.fixture(scope="module")
def package(build_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as it is in the sources, but with the sanitised module."""
    build(build_root / "sanitized", "_core", *OPTIONS)
    (module,) = (build_root / "sanitized").rglob("_core.*.so")
    place = tmp_path_factory.mktemp("package")
    (place / "negmerge_ext").mkdir()
    for source in (ROOT / "negmerge_ext").iterdir():
        if source.suffix != ".so":
            (place / "negmerge_ext" / source.name).symlink_to(source)
    (place / "negmerge_ext" / module.name).symlink_to(module)
    return place


@pytest.fixture(scope="module")
def environment(package: Path) -> dict[str, str]:
    compiler = tool("c++")
    libraries = [run(compiler, f"-print-file-name=lib{name}.so").strip() for name in ("asan", "ubsan")]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip("the compiler has no sanitizer libraries")
    return {
        "PYTHONPATH": os.pathsep.join([str(package), str(ROOT / "tests")]),
        "LD_PRELOAD": " ".join(libraries),
        # The sanitizer ends a process that takes more, before the machine suffers.
        "ASAN_OPTIONS": "detect_leaks=0:hard_rss_limit_mb=5000",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "NEGMERGE_TEST_TIGHT_BUFFERS": "1",
    }


@pytest.mark.slow
def test_an_overrun_would_be_seen(package: Path, environment: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OVERRUN],
        cwd=package,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in ran.stderr


def run_tests(
    names: tuple[str, ...], package: Path, environment: dict[str, str], but: str = "nothing_of_that_name"
) -> None:
    """Run test files of the package, without tests that have ``but`` in their names."""
    out = run(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"),
        "--capture=sys",  # or what a sanitizer says at the end of the process would be lost
        *("-c", ROOT / "pyproject.toml", "-o", f"pythonpath={ROOT / 'tests'}", "-k", f"not ({but})"),
        *(TESTS / f"{name}.py" for name in names),
        folder=package,
        **environment,
    )
    assert " passed" in out


@pytest.mark.slow
def test_kernel_tests_pass_in_a_sanitized_build(package: Path, environment: dict[str, str]) -> None:
    run_tests(
        (
            "test_kernel_values",
            "test_kernel_invariance",
            "test_native_patches",
            "test_native_moves",
            "test_native",
        ),
        package,
        environment,
    )


@pytest.fixture
def with_cuda(build_root: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment, with the sanitised CUDA module whose kernels run on the host."""
    folder = build(build_root / "sanitized", "_cuda_emulated", *OPTIONS)
    (module,) = folder.rglob("emulated/_cuda.*.so")
    return environment | {"NEGMERGE_TEST_CUDA_MODULE": str(module)}


@pytest.mark.slow
def test_cuda_kernel_tests_pass_in_a_sanitized_build(package: Path, with_cuda: dict[str, str]) -> None:
    run_tests(
        ("test_cuda_kernel_values", "test_cuda_kernel_invariance", "test_cuda_moves"), package, with_cuda
    )


@pytest.mark.slow
def test_merges_of_files_on_a_device_pass_in_a_sanitized_build(
    package: Path, with_cuda: dict[str, str]
) -> None:
    """Without those that repeat others with many more bytes."""
    run_tests(
        ("test_cuda_file_merger", "engine/test_cuda_stream"),
        package,
        with_cuda,
        but="those_of_the_cpu or every_budget",
    )
