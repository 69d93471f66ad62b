"""What this installation can do on this machine."""

from __future__ import annotations

from typing import Any

from .errors import DeviceError


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
    from . import native_cuda

    if not native_cuda.is_built():
        return {"built": False, "devices": [], "reason": "built without CUDA"}
    try:
        devices = native_cuda.devices()
    except DeviceError as problem:
        return {"built": True, "devices": [], "reason": str(problem)}
    return {"built": True, "devices": devices, "reason": None if devices else "no CUDA device is visible"}


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
