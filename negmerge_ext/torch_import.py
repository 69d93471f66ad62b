"""Run something as soon as torch is imported, without importing it.

The torch operator must exist whenever both packages have been imported, in either order, and importing
this package must not import torch.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_torch_is_imported(action: Callable[[], object]) -> None:
    """Call ``action`` now if torch is imported, otherwise once, right after the first import that succeeds.

    A failure of ``action`` becomes a ``RuntimeWarning``: importing torch must not break over it.
    """
    if "torch" in sys.modules:
        importlib.import_module("torch")  # waits if another thread is in the middle of importing it
        _guarded(action)
    else:
        sys.meta_path.insert(0, _TorchFinder(action))


class _TorchFinder:
    """A finder that leaves the search to the others and only wraps the loader that they give for torch."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def finished(self) -> None:
        """Torch is imported: leave ``sys.meta_path``, and act unless another import did."""
        try:
            sys.meta_path.remove(self)
        except ValueError:
            return
        _guarded(self._action)


class _Loader:
    """Torch's own loader, and a word to the finder when it is done.

    Whoever only asks for torch's spec finds every attribute of the original loader here.
    """

    def __init__(self, original: Any, finder: _TorchFinder) -> None:
        self._original = original
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._original.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Torch sees its own loader while it runs and ever after.
        module.__loader__ = self._original
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        self._original.exec_module(module)
        self._finder.finished()


def _guarded(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as problem:
        warnings.warn(f"negmerge_ext could not register its torch operator: {problem}", RuntimeWarning, 2)
