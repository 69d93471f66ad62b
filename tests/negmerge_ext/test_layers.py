"""Dependencies between the rooms of the package point one way (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "negmerge_ext"
#: From the lowest. Files at the top of the package that these use are below them all.
ROOMS = ("checkpoint", "in_memory", "patches", "engine")
ABOVE = {"api", "accumulator", "patch", "inputs", "ops", "info", "torch_import"}


def imported(path: Path) -> Iterator[str]:
    """First parts of the names, within the package, that a file imports."""
    parents = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == parents:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (name.partition(".")[0] for name in names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_what_is_below_it(room: str) -> None:
    forbidden = {*ROOMS[ROOMS.index(room) + 1 :], *ABOVE}
    files = list((PACKAGE / room).rglob("*.py"))
    assert len(files) > 1
    assert {(path.name, name) for path in files for name in imported(path) if name in forbidden} == set()


def test_what_rooms_share_uses_none_of_them() -> None:
    shared = [path for path in PACKAGE.glob("*.py") if path.stem not in ABOVE | {"__init__"}]
    assert len(shared) > 5
    forbidden = {*ROOMS, *ABOVE}
    assert {(path.name, name) for path in shared for name in imported(path) if name in forbidden} == set()
