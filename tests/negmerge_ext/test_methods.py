from __future__ import annotations

import pytest

from negmerge_ext import _core
from negmerge_ext.errors import OptionError
from negmerge_ext.methods import Trim, get, methods


def test_registered_methods() -> None:
    registered = methods()
    assert set(registered) == {"negmerge", "uniform", "conflict", "magmax", "ties"}
    for name, method in registered.items():
        assert method.name == name
        assert get(name) is method
    assert len({method.code for method in registered.values()}) == len(registered)


def test_the_registry_cannot_be_changed_through_its_listing() -> None:
    methods().clear()
    assert get("negmerge").name == "negmerge"


def test_registered_methods_are_those_of_the_kernels() -> None:
    facts = [(m.name, m.values, m.signs, m.trim is not None) for m in methods().values()]
    assert tuple(facts) == _core.METHODS
    assert [m.code for m in methods().values()] == list(range(len(facts)))


def test_parameters_as_text_and_as_arguments() -> None:
    assert str(get("negmerge")) == "negmerge"
    assert str(get("ties")) == "ties:density=0.2,per=model"
    given = get("ties:per=tensor,density=0.10")
    assert str(given) == "ties:density=0.1,per=tensor"
    assert given == methods()["ties"].with_(density=0.1, per="tensor") == get(given) == get(str(given))
    assert given.trim == Trim(0.1, "tensor")
    assert get("ties").trim == Trim(0.2, "model")
    assert get("uniform").trim is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ties:densty=0.1", r"no parameter 'densty'\. Did you mean density"),
        ("ties:x=1", "It has density, per"),
        ("negmerge:density=0.1", "It has no parameters"),
        ("ties:density=0", "above 0 and at most 1"),
        ("ties:density=1.5", "above 0 and at most 1"),
        ("ties:density=nan", "above 0 and at most 1"),
        ("ties:density=much", "above 0 and at most 1"),
        ("ties:per=layer", "'layer', not one of model, tensor"),
        ("ties:", "name:parameter=value"),
        ("ties:density", "name:parameter=value"),
        ("ties:density=0.1,density=0.2", "each parameter once"),
        ("tie", "Did you mean ties"),
    ],
)
def test_what_is_no_method_with_parameters_is_explained(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        get(text)


def test_a_number_is_no_truth() -> None:
    with pytest.raises(OptionError, match="above 0"):
        methods()["ties"].with_(density=True)


@pytest.mark.parametrize("name", ["dare", "", None, 3, ["negmerge"]])
def test_unknown_method_names_the_known_ones(name: object) -> None:
    with pytest.raises(OptionError, match=r"negmerge, uniform"):
        get(name)  # type: ignore[arg-type]
