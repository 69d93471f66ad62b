"""Merge a base checkpoint with N fine-tuned ones by sign consensus, in memory or straight between files.

    import negmerge_ext

    merged = negmerge_ext.merge(base, [finetuned_1, finetuned_2], scale=0.5)        # state dicts or modules
    report = negmerge_ext.merge("base.safetensors", ["a.safetensors", "b.pt"], out="merged.safetensors")

Importing this package imports neither torch nor numpy: public names are loaded when they are first used.
``torch.ops.negmerge.merge`` exists as soon as torch and this package have both been imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from .info import info
from .methods import methods
from .torch_import import when_torch_is_imported

if TYPE_CHECKING:
    from .accumulator import Accumulator
    from .api import inspect, merge
    from .patch import Patch
    from .stats import MergeReport, TensorStats

__version__ = "0.1.0"

__all__ = [
    "Accumulator",
    "MergeReport",
    "Patch",
    "TensorStats",
    "__version__",
    "errors",
    "info",
    "inspect",
    "merge",
    "methods",
]

_LOADED_ON_USE = {
    "Accumulator": "accumulator",
    "MergeReport": "stats",
    "Patch": "patch",
    "TensorStats": "stats",
    "inspect": "api",
    "merge": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_LOADED_ON_USE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


when_torch_is_imported(lambda: import_module(".ops", __name__))
