"""``negmerge compare``: methods at equal retain accuracy, over the runs of several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .commands import make_command
from .grids import show_grids
from .options import OUTPUT, AsJson, path
from .show import show_exactly

EXAMPLES = """\
Examples:
  negmerge compare runs/digits
  negmerge compare runs/seed0 runs/seed1 runs/seed2 --plot compared.png --json

The runs' recipes may differ in name and seed only."""


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", parser=path, show_default=False, help="Folders of finished runs, one per seed."
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path,
            show_default=False,
            help="Also draw forget against retain accuracy as a PNG; bands are standard deviations.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods where they retain alike, over the runs of several seeds.

    Shows the lowest forget accuracy of every method at 99, 97 and 95 % of the base's retain accuracy, its
    mean over that range, and the average gap to Retrain where the runs have it, each with its standard
    deviation.
    """
    import json

    from ..report.matched_plot import draw_matched
    from ..report.matched_table import matched_table
    from ..report.runs import check_comparable
    from ..report.written import compared
    from ..run_folder import RunFolder, appearing_complete
    from ..saved_results import read_results

    results = [read_results(run) for run in runs]
    check_comparable(results)
    if plot is not None:
        with appearing_complete(plot) as unfinished:
            draw_matched(results, unfinished)
    if as_json:
        plain = compared([RunFolder(run) for run in runs], results)
        show_exactly(json.dumps(plain, indent=2, allow_nan=False), written=plot)
    else:
        show_grids([matched_table(results)], written=plot)


COMMAND = make_command(compare, epilog=EXAMPLES)
