"""``negmerge evaluate``: what checkpoints score on the splits of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .commands import make_command
from .grids import show_grids
from .options import AsJson, Quiet, path
from .run_options import Out, RecipeFile, folder_of
from .show import show_exactly

EXAMPLES = """\
Examples:
  negmerge evaluate recipe.yaml mine.safetensors
  negmerge evaluate recipe.yaml a.safetensors b.pt --out runs/second --json

The measures against Retrain are there once the run in the folder has trained
it. What was evaluated is recorded in the folder and not evaluated again."""


def evaluate(
    recipe: RecipeFile,
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT",
            parser=path,
            show_default=False,
            help="One or more checkpoints of the recipe's model: a .safetensors file, a Hugging Face folder, "
            "or a .pt/.pth/.bin state dict.",
        ),
    ],
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate checkpoints on the validation and test splits of a recipe.

    Shows accuracies on what is to be forgotten and retained, and the measures and average gap to Retrain if
    the run has it. A checkpoint with weights that are NaN or infinite is an error.
    """
    import json

    from ..console import Reporter
    from ..evaluating import evaluate_checkpoints
    from ..recipe_file import read_recipe

    read, text = read_recipe(recipe)
    folder = folder_of(read, out)
    found = evaluate_checkpoints(read, text, folder, checkpoints, Reporter(quiet=quiet or as_json))
    if as_json:
        show_exactly(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    elif not quiet:
        from ..report.evaluation_table import evaluation_table

        show_grids([evaluation_table(found)])


COMMAND = make_command(evaluate, epilog=EXAMPLES)
