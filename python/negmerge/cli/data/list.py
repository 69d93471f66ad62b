"""``negmerge data list``: the data sets, and which are ready."""

from __future__ import annotations

from typing import Any

from ..commands import make_command
from ..options import AsJson
from ..show import show, show_exactly
from .options import DataDir

EXAMPLE = """\
Example:
  negmerge data list"""


def list_data_sets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sets, and which of them are ready.

    A set that is not ready is prepared by negmerge data get, or by hand where nobody may pass it on.
    """
    import json

    from ...data import DATA_SETS
    from ...data.get.prepare import origin_of
    from ...data.place import data_folder

    data = data_dir or data_folder()
    rows: list[dict[str, Any]] = []
    states = []
    for name in DATA_SETS.names:
        source = DATA_SETS.get(name)
        folder = data / name
        ready = source.is_ready(folder)
        how = [str(route) for route in source.routes]
        states.append("ready" if ready else "to get" if source.can_be_fetched else "by hand")
        rows.append(
            {
                "name": name,
                "title": source.title,
                "ready": ready,
                "origin": origin_of(folder) if ready else None,
                "routes": how,
                "by_hand": source.by_hand or None,
            }
        )
    if as_json:
        show_exactly(json.dumps({"data_dir": str(data), "data_sets": rows}, indent=2))
        return
    widest = max(len(row["name"]) for row in rows)
    lines = [
        f"{row['name']:{widest}}  {state:9}  {row['title']}" for row, state in zip(rows, states, strict=True)
    ]
    show("\n".join([f"Data folder: {data}", *lines]))


COMMAND = make_command(list_data_sets, epilog=EXAMPLE)
COMMAND.name = "list"
