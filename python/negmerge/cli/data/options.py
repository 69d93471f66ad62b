"""Options of the commands on data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import path

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        parser=path,
        show_default=False,
        help="The data folder. Default: $NEGMERGE_DATA, or ~/.cache/negmerge/data. "
        "Runs look there too: set the variable for another one.",
    ),
]
