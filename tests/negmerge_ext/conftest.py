from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_cuda import FakeCuda, build_fake_cuda


@pytest.fixture(scope="session")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> FakeCuda:
    """Built once for a run; parallel test processes share it."""
    own = tmp_path_factory.getbasetemp()
    return FakeCuda(build_fake_cuda(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own))
