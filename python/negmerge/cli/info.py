"""``negmerge info``: what this installation can use."""

from __future__ import annotations

import json

from .commands import make_command
from .options import AsJson
from .show import show, show_exactly


def info(as_json: AsJson = False) -> None:
    """Show instruction sets, threads, CUDA devices and versions."""
    import negmerge_ext

    found = negmerge_ext.info()
    if as_json:
        show_exactly(json.dumps(found, indent=2))
    else:
        show("\n".join(_lines(found)))


COMMAND = make_command(info)


def _lines(found: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in found.items():
        label = indent + (key if key == "negmerge_ext" else key.replace("_", " "))  # a package's name is one
        if isinstance(value, dict):
            lines += [f"{label}:", *_lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{label}: {', '.join(map(str, value)) or 'none'}")
        else:
            lines.append(f"{label}: {'none' if value is None else value}")
    return lines
