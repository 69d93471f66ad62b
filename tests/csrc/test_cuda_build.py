"""The CUDA side compiles, without warnings, for all architectures; its module loads where there is no GPU."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from native_builds import build, run, tool


@pytest.mark.slow
def test_option_decides_whatever_was_built_before(build_root: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    folder = build(
        build_root / "cuda", "negmerge_cuda_arithmetic", "-DNEGMERGE_CUDA=ON", "-DNEGMERGE_WERROR=ON"
    )
    build(folder, "_cuda", "-DNEGMERGE_CUDA=ON", "-DNEGMERGE_WERROR=ON")
    [module] = folder.rglob("_cuda.*.so")
    spec = importlib.util.spec_from_file_location("_cuda", module)
    assert spec is not None
    assert spec.loader is not None
    cuda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cuda)
    devices, reason = [], ""
    try:
        devices = cuda.devices()
    except RuntimeError as error:
        reason = str(error)
    assert devices or "CUDA" in reason

    build(folder, "help", "-DNEGMERGE_CUDA=OFF")
    assert "_cuda" not in run(tool("ninja"), "-C", folder, "-t", "targets", "all")
