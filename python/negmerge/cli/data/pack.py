"""``negmerge data pack``: small data sets in files that can be carried to another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..commands import make_command
from ..options import OUTPUT, AsJson, path
from ..show import show, show_exactly
from .options import DataDir

EXAMPLES = """\
Examples:
  negmerge data pack cifar10 -o parts
  negmerge data pack cifar10 mnist -o parts --part-size 20MiB

Copy the files to the folder NAME of another machine's data folder: runs read
the parts as they are."""


def pack(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", parser=str, show_default=False, help="One or more data sets."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            parser=path,
            show_default=False,
            help="A data folder to write: each set gets a folder in it. Required.",
            rich_help_panel=OUTPUT,
        ),
    ],
    part_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            parser=str,
            help="The largest size of a file: bytes, or a size such as 20MiB or 50MB.",
            rich_help_panel=OUTPUT,
        ),
    ] = "48MiB",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write data sets in files of limited size, to be carried to another machine.

    For sets of small images, which are kept in one file. The images and labels are checked where their
    checksum is known, here and where they are read.
    """
    import json

    from negmerge_ext.errors import OptionError
    from negmerge_ext.sizes import parse_bytes

    from ...data import DATA_SETS
    from ...data.parts import write_parts
    from ...data.place import data_folder
    from ...data.source import InMemory

    data, largest = data_dir or data_folder(), parse_bytes(part_size, "part_size")
    try:
        sources = [DATA_SETS.get(DATA_SETS.check(name)) for name in dict.fromkeys(names)]
    except ValueError as unknown:
        raise OptionError(str(unknown)) from unknown
    files: dict[str, list[Path]] = {}
    for source in sources:
        if not isinstance(source, InMemory):
            raise OptionError(
                f"{source.name} is not kept in one file", remedy="Copy its folder, or leave it out"
            )
        files[source.name] = write_parts(source.packed(data / source.name), out / source.name, largest)
    if as_json:
        described = {name: list(map(str, paths)) for name, paths in files.items()}
        show_exactly(json.dumps(described, indent=2))
    else:
        show("\n".join(str(path) for paths in files.values() for path in paths))


COMMAND = make_command(pack, epilog=EXAMPLES)
