"""``negmerge info``: what this installation can use."""

from __future__ import annotations

import json

from .options import AsJson


def info(as_json: AsJson = False) -> None:
    """Show instruction sets, threads, CUDA devices and versions."""
    import negmerge_ext

    found = negmerge_ext.info()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for line in _lines(found):
        print(line)


def _lines(found: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in found.items():
        label = f"{indent}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            lines += [f"{label}:", *_lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{label}: {', '.join(map(str, value)) or 'none'}")
        else:
            lines.append(f"{label}: {'none' if value is None else value}")
    return lines
