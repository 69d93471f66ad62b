"""``negmerge unlearn``: a whole unlearning run from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import make_command
from .grids import show_grids
from .options import OUTPUT, AsJson, Quiet
from .run_options import Devices, Online, Out, Overwrite, RecipeFile, folder_of, way_of
from .show import show, show_exactly

if TYPE_CHECKING:
    from ..pipeline import Way
    from ..recipe import Recipe

EXAMPLES = """\
Examples:
  negmerge unlearn recipe.yaml --dry-run
  negmerge unlearn recipe.yaml
  negmerge unlearn recipe.yaml --out runs/second --json
  negmerge unlearn recipe.yaml --devices cuda:0,cuda:1
  negmerge unlearn recipe.yaml --online
  negmerge unlearn mnist-clip-small

The recipe of negmerge demo is left in runs/digits/recipe.yaml:
copy it, give it another name, change it, run it.
Stages that are finished are not repeated; with --overwrite after a change,
only those that it concerns are."""


def unlearn(
    recipe: RecipeFile,
    out: Out = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            help="Check recipe, data, model and folder, print the plan, train and write nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    devices: Devices = None,
    online: Online = False,
) -> None:
    """Make a model forget: pool, merge, coefficient, evaluation and report, from a recipe.

    Trains the base, fine-tunes it on the forget set with every combination of the recipe's hyper-parameters,
    negates the merged vector with the coefficient that forgets most on the validation split while retain
    accuracy holds, or that comes closest to a model that was trained without the forget set, and compares the
    methods. An interrupted run is continued by the same command.
    """
    from ..recipe_file import read_recipe

    read, text = read_recipe(recipe)
    if dry_run:
        _show_plan(read, folder_of(read, out), way_of(devices, online=online), overwrite, as_json)
        return
    run_recipe(
        read,
        text,
        out=out,
        overwrite=overwrite,
        as_json=as_json,
        quiet=quiet,
        devices=devices,
        online=online,
    )


COMMAND = make_command(unlearn, epilog=EXAMPLES)


def _show_plan(recipe: Recipe, folder: Path, way: Way, overwrite: bool, as_json: bool) -> None:
    import json

    from negmerge_ext.errors import raise_problems

    from ..run_plan import plan_run
    from .unlearn_plan import describe

    plan = plan_run(recipe, folder, overwrite=overwrite, way=way)
    if as_json:
        show_exactly(json.dumps(plan.to_dict(), indent=2, allow_nan=False))
    else:
        show(describe(plan))
    raise_problems(plan.problems)


def run_recipe(
    recipe: Recipe,
    text: str,
    *,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    devices: str | None = None,
    online: bool = False,
) -> None:
    """Run a recipe and print what it found."""
    import json

    from ..console import Reporter
    from ..pipeline import run
    from ..run_folder import RunFolder

    folder = folder_of(recipe, out)
    way = way_of(devices, online=online)
    results = run(recipe, text, folder, Reporter(quiet=quiet or as_json), overwrite=overwrite, way=way)
    if as_json:
        show_exactly(json.dumps(results.to_dict(), indent=2, allow_nan=False), written=folder)
    elif not quiet:
        from ..report.matched_table import matched_table
        from ..report.published_table import published_table
        from ..report.reference_table import reference_table
        from ..report.retained_table import retained_table
        from ..report.table import comparison, table

        show_grids(
            (
                table(results),
                retained_table(results),
                reference_table(results),
                published_table(results),
                matched_table([results]),
            ),
            comparison(results),
            written=folder,
        )
        page = RunFolder(folder).page.resolve()
        show(
            f"Written to {folder}: results.json, results.png, report.md, merged/*.safetensors\n"
            f"Open the report: {page.as_uri()}",
            written=folder,
        )
