from __future__ import annotations

from types import ModuleType

import pytest
from cuda_calls import Merges
from stand_in_devices import StandInDevices


@pytest.fixture(scope="session")
def merge_on_cuda(emulated_cuda: ModuleType) -> Merges:
    """Merges of cases by the CUDA kernels, run on the host."""
    return Merges(emulated_cuda)


@pytest.fixture
def devices(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> StandInDevices:
    """CUDA devices made of main memory, with the CUDA kernels run on the host, in use during the test."""
    found = StandInDevices()
    found.install(monkeypatch, emulated_cuda)
    return found
