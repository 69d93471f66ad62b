from __future__ import annotations

from types import ModuleType

import pytest
from cuda_calls import Merges


@pytest.fixture(scope="session")
def merge_on_cuda(emulated_cuda: ModuleType) -> Merges:
    """Merges of cases by the CUDA kernels, run on the host."""
    return Merges(emulated_cuda)
