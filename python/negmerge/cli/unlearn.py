"""``negmerge unlearn``: a whole unlearning run, from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Quiet

if TYPE_CHECKING:
    from ..recipe import Recipe

EXAMPLES = """\
[bold]Examples[/bold]
  negmerge unlearn recipe.yaml
  negmerge unlearn recipe.yaml --out runs/second --json

The recipe of negmerge demo is left in runs/digits/recipe.yaml: copy it, change
it, run it. Stages that are finished are not repeated; after a change, only those
that it concerns."""

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FOLDER",
        show_default="runs/NAME of the recipe",
        help="Folder of the run: checkpoints, patches, results.json, results.png.",
    ),
]


def unlearn(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", show_default=False, help="A YAML file that says what the run is."),
    ],
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a model forget: fine-tune a pool on the forget set, merge it, search the coefficient, evaluate.

    Trains the base, fine-tunes it on the forget set with every combination of the recipe's hyper-parameters,
    negates the merged vector with the coefficient that forgets most on the validation split while retain
    accuracy holds, and compares the methods. An interrupted run is continued by the same command.
    """
    from ..recipe_file import read_recipe

    run_recipe(*read_recipe(recipe), out=out, as_json=as_json, quiet=quiet)


def run_recipe(recipe: Recipe, text: str, *, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Run a recipe and print what it found."""
    import json

    from ..console import Reporter
    from ..pipeline import run

    folder = Path("runs") / recipe.name if out is None else out
    results = run(recipe, text, folder, Reporter(quiet=quiet or as_json))
    if as_json:
        print(json.dumps(results.to_dict(), indent=2, allow_nan=False))
    elif not quiet:
        from rich.console import Console

        from ..report.table import table

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 110
        console.print(table(results))
        print(f"Written to {folder}: results.json, results.png, merged/*.safetensors")
