"""Arguments and options of the commands that work in the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import OUTPUT, RUNNING, path

if TYPE_CHECKING:
    from ..pipeline import Way
    from ..recipe import Recipe


RecipeFile = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        parser=path,
        show_default=False,
        help="A YAML file that says what the run is, or the name of one of negmerge recipes.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FOLDER",
        parser=path,
        show_default=False,
        help="Folder of the run: checkpoints, patches, results, report. "
        "Default: runs/NAME, the recipe's name.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        metavar="",
        help="The folder may hold the run of another recipe: recompute what differs.",
        rich_help_panel=OUTPUT,
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        parser=str,
        show_default=False,
        help="Devices that the pool is fine-tuned on, one process each: cuda:0,cuda:1, or cpu,cpu for two "
        "processes. Default: the recipe's device, or all CUDA devices if it names none.",
        rich_help_panel=RUNNING,
    ),
]
Online = Annotated[
    bool,
    typer.Option(
        "--online",
        metavar="",
        help="Merge every fine-tuned checkpoint as soon as it is finished, and keep none. For methods that "
        "merge the whole pool.",
        rich_help_panel=RUNNING,
    ),
]


def folder_of(recipe: Recipe, out: Path | None) -> Path:
    """The folder of a recipe's run."""
    return Path("runs") / recipe.name if out is None else out


def way_of(devices: str | None, *, online: bool) -> Way:
    """How the run is to be done; devices: names with commas between them.

    Raises :class:`~negmerge_ext.errors.DeviceError` for a device that there is not.
    """
    from ..devices import checked_devices
    from ..pipeline import Way

    if devices is None:
        return Way(None, online)
    return Way(checked_devices(tuple(name.strip() for name in devices.split(","))), online)
