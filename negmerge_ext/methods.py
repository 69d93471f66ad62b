"""The registered merge methods. Their arithmetic is ``csrc/arithmetic.h``; here is what they are."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import OptionError


@dataclass(frozen=True, slots=True)
class Method:
    """One way of turning N task vectors into one.

    ``code`` is the method's number in ``csrc/arithmetic.h``; ``keeps`` says which elements enter the
    merged vector (all others are exactly zero in it); ``source`` is the paper it comes from.
    """

    name: str
    code: int
    keeps: str
    source: str


_REGISTERED = {
    method.name: method
    for method in (
        Method(
            name="negmerge",
            code=0,
            keeps="mean of the elements on whose sign all N task vectors agree",
            source="Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025",
        ),
        Method(
            name="uniform",
            code=1,
            keeps="mean of all elements",
            source="Wortsman et al., Model soups, ICML 2022; Ilharco et al., Editing Models with Task "
            "Arithmetic, ICLR 2023",
        ),
    )
}


def methods() -> dict[str, Method]:
    """The registered methods by name."""
    return dict(_REGISTERED)


def get(name: str) -> Method:
    """The method called ``name``; :class:`OptionError` names the known ones."""
    try:
        return _REGISTERED[name]
    except (KeyError, TypeError):
        raise OptionError(
            f"no method is called {name!r}", remedy=f"Use one of {', '.join(_REGISTERED)}"
        ) from None
