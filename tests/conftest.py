from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # where a GPU is, it may not be: tests that need no hypothesis run all the same
    pass
else:
    # Native builds share the machine with other jobs: no deadline. A function-scoped fixture that selects an
    # instruction set holds for all examples of a test, which is what is wanted.
    settings.register_profile(
        "negmerge",
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    settings.load_profile("negmerge")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``instruction_set`` runs once on each that this CPU has."""
    if "instruction_set" in metafunc.fixturenames:
        from negmerge_ext import native

        metafunc.parametrize("instruction_set", native.instruction_sets(), indirect=True)


@pytest.fixture
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """The instruction set in use during the test."""
    from negmerge_ext import native

    before = native.active_instruction_set()
    native.select_instruction_set(request.param)
    yield request.param
    native.select_instruction_set(before)


@pytest.fixture(scope="session")
def build_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for builds of this run; parallel test processes share it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def emulated_cuda(build_root: Path) -> ModuleType:
    """The CUDA module with kernels run on the host: built, or what NEGMERGE_TEST_CUDA_MODULE names."""
    from cuda_calls import load
    from native_builds import build

    built = os.environ.get("NEGMERGE_TEST_CUDA_MODULE")
    if built is None:
        folder = build(
            build_root / "emulated",
            "_cuda_emulated",
            *("-DNEGMERGE_CUDA_EMULATED=ON", "-DNEGMERGE_WERROR=ON"),
        )
        (found,) = folder.rglob("emulated/_cuda.*.so")
        built = str(found)
    return load(Path(built))
