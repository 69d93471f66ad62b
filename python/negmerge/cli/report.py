"""``negmerge report``: the page of a run, or of several runs of one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .commands import make_command
from .options import OUTPUT, AsJson, Quiet, path
from .show import show, show_exactly

EXAMPLES = """\
Examples:
  negmerge report runs/digits
  negmerge report runs/seed0 runs/seed1 runs/seed2 --out runs/compared

The page is one HTML file: it can be mailed, printed, and opened anywhere.
Several runs must have recipes that differ in name and seed only."""


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            parser=path,
            show_default=False,
            help="Folder of a finished run; several: one per seed.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            parser=path,
            show_default=False,
            help="Folder for the report. Default: the run's own; of several runs it must be given.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the report of a finished run, or of several, as a page, Markdown and JSON.

    One run: what was forgotten, all methods, curves, where the pool agrees, what the models look at, costs
    and provenance. Several: means and standard deviations over seeds. Only what the runs recorded is read.
    """
    import json

    from negmerge_ext.errors import OptionError

    from ..report.written import write_comparison, write_report
    from ..run_folder import RunFolder
    from ..saved_results import read_results

    if len(runs) > 1 and out is None:
        raise OptionError("several runs have no folder in common", remedy="Give one for their report (-o)")
    results = [read_results(run) for run in runs]
    folders = [RunFolder(run) for run in runs]
    if len(runs) == 1:
        files = write_report(folders[0], results[0], out)
    else:
        assert out is not None, "checked above"
        files = write_comparison(folders, results, out)
    if as_json:
        show_exactly(json.dumps({"files": [str(file) for file in files]}, indent=2), written=files[0])
    elif not quiet:
        listed = "\n".join(f"written {file}" for file in files)
        show(f"{listed}\nOpen it: {files[0].resolve().as_uri()}", written=files[0])


COMMAND = make_command(report, epilog=EXAMPLES)
