"""What runs leave behind, to compare them by."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, is_dataclass
from pathlib import Path

_MEASURED = ("seconds", "training_seconds", "peak_memory", "peak_device_memory", "origin")


def checksums(root: Path) -> dict[str, str]:
    """SHA-256 of every checkpoint and patch of a run."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.safetensors"))
    }


def without_seconds(plain: object) -> object:
    """Plain data or a dataclass, without what is measured anew in every run."""
    if is_dataclass(plain) and not isinstance(plain, type):
        plain = asdict(plain)
    if isinstance(plain, dict):
        return {name: without_seconds(value) for name, value in plain.items() if name not in _MEASURED}
    if isinstance(plain, (list, tuple)):
        return [without_seconds(value) for value in plain]
    return plain
