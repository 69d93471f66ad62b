"""What this installation can do on this machine."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def info() -> dict[str, Any]:
    """Instruction sets, threads, CUDA devices and versions, as plain data for JSON.

    ``instruction_sets``: ``available`` (compiled in and present in this CPU, slowest first), ``active``,
    and ``forced`` by NEGMERGE_ISA when the compiled module was loaded (or ``None``). ``threads``: what a
    merge uses unless told. ``cuda``: ``built``, ``devices`` and, if there are none, the ``reason``.
    ``versions``: of this package, Python and the libraries (``None`` if not installed). Imports no torch.

    Raises :class:`~negmerge_ext.errors.NativeModuleError` if the compiled module cannot be loaded.
    """
    import platform

    from . import __version__, native

    return {
        "instruction_sets": {
            "available": list(native.instruction_sets()),
            "active": native.active_instruction_set(),
            "forced": native.forced_instruction_set(),
        },
        "threads": native.default_threads(),
        "cuda": _cuda(),
        "versions": {
            "negmerge_ext": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in ("numpy", "torch", "safetensors")},
        },
    }


def _cuda() -> dict[str, Any]:
    name = f"{__package__}._cuda"
    if find_spec(name) is None:
        return {"built": False, "devices": [], "reason": "built without CUDA"}
    try:
        devices = import_module(name).devices()
    except (ImportError, RuntimeError) as problem:
        return {"built": True, "devices": [], "reason": str(problem)}
    return {"built": True, "devices": devices, "reason": None if devices else "no CUDA device is visible"}


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
