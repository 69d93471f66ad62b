"""``negmerge unlearn``: a whole unlearning run, from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import make_command
from .options import OUTPUT, AsJson, Quiet, path
from .show import collecting, show, show_exactly

if TYPE_CHECKING:
    from ..recipe import Recipe

EXAMPLES = """\
Examples:
  negmerge unlearn recipe.yaml
  negmerge unlearn recipe.yaml --out runs/second --json
  negmerge unlearn mnist-clip-small

The recipe of negmerge demo is left in runs/digits/recipe.yaml:
copy it, give it another name, change it, run it.
Stages that are finished are not repeated; with --overwrite after a change,
only those that it concerns are."""

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FOLDER",
        parser=path,
        show_default=False,
        help="Folder of the run: checkpoints, patches, results.json, results.png. "
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


def unlearn(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            parser=path,
            show_default=False,
            help="A YAML file that says what the run is, or the name of a recipe of the package.",
        ),
    ],
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a model forget: pool, merge, coefficient and evaluation, from a recipe.

    Trains the base, fine-tunes it on the forget set with every combination of the recipe's hyper-parameters,
    negates the merged vector with the coefficient that forgets most on the validation split while retain
    accuracy holds, or that comes closest to a model that was trained without the forget set, and compares the
    methods. An interrupted run is continued by the same command.
    """
    from ..recipe_file import read_recipe

    run_recipe(*read_recipe(recipe), out=out, overwrite=overwrite, as_json=as_json, quiet=quiet)


COMMAND = make_command(unlearn, epilog=EXAMPLES)


def run_recipe(
    recipe: Recipe, text: str, *, out: Path | None, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Run a recipe and print what it found."""
    import json

    from ..console import Reporter
    from ..pipeline import run

    folder = Path("runs") / recipe.name if out is None else out
    results = run(recipe, text, folder, Reporter(quiet=quiet or as_json), overwrite=overwrite)
    if as_json:
        show_exactly(json.dumps(results.to_dict(), indent=2, allow_nan=False), written=folder)
    elif not quiet:
        from ..report.matched_table import matched_table
        from ..report.reference_table import reference_table
        from ..report.retained_table import retained_table
        from ..report.table import comparison, table

        console, collected = collecting(markup=True)
        if not console.is_terminal:
            console.width = 110
        shared = (table(results), retained_table(results), reference_table(results))
        for shown in (*shared, matched_table([results])):
            if shown is not None:
                console.print(shown, "")
        console.print(comparison(results), markup=False)
        show_exactly(collected.getvalue(), written=folder)
        show(f"Written to {folder}: results.json, results.png, merged/*.safetensors", written=folder)
