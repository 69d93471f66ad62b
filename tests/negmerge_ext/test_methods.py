from __future__ import annotations

import pytest

from negmerge_ext.errors import OptionError
from negmerge_ext.methods import get, methods


def test_registered_methods() -> None:
    registered = methods()
    assert set(registered) == {"negmerge", "uniform"}
    for name, method in registered.items():
        assert method.name == name
        assert get(name) is method
    assert len({method.code for method in registered.values()}) == len(registered)


def test_the_registry_cannot_be_changed_through_its_listing() -> None:
    methods().clear()
    assert get("negmerge").name == "negmerge"


@pytest.mark.parametrize("name", ["ties", "", None, 3, ["negmerge"]])
def test_unknown_method_names_the_known_ones(name: object) -> None:
    with pytest.raises(OptionError, match=r"negmerge, uniform"):
        get(name)  # type: ignore[arg-type]
