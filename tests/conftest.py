from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

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
