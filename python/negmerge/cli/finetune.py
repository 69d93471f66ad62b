"""``negmerge finetune``: the base and the pool of a recipe, without what comes after."""

from __future__ import annotations

from .commands import make_command
from .options import AsJson, Quiet
from .run_options import Devices, Online, Out, Overwrite, RecipeFile, folder_of, way_of
from .show import show, show_exactly

EXAMPLES = """\
Examples:
  negmerge finetune recipe.yaml
  negmerge finetune recipe.yaml --devices cuda:0,cuda:1,cuda:2
  negmerge finetune recipe.yaml && negmerge inspect runs/NAME/base.safetensors runs/NAME/pool/*.safetensors

It works in the folder of the run: negmerge unlearn goes on from there. What is
finished is not repeated, after an interruption either."""


def finetune(
    recipe: RecipeFile,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    devices: Devices = None,
    online: Online = False,
) -> None:
    """Train the base of a recipe and fine-tune its pool on the forget set.

    These are the first stages of negmerge unlearn. The pool has a checkpoint for every combination of the
    recipe's hyper-parameters; with --online there are merged vectors instead.
    """
    import json
    from dataclasses import asdict

    from .. import pipeline
    from ..console import Reporter
    from ..recipe_file import read_recipe

    read, text = read_recipe(recipe)
    folder = folder_of(read, out)
    base, members = pipeline.finetune(
        read,
        text,
        folder,
        Reporter(quiet=quiet or as_json),
        overwrite=overwrite,
        way=way_of(devices, online=online),
    )
    if as_json:
        plain = {"folder": str(folder), "base": asdict(base), "pool": [asdict(member) for member in members]}
        show_exactly(json.dumps(plain, indent=2, allow_nan=False), written=folder)
    elif not quiet:
        seconds = sum(member.seconds for member in members)
        where = "patches/*.safetensors" if online else "pool/*.safetensors"
        show(
            f"{len(members)} fine-tunings of the base in {seconds:.1f} s of training\n"
            f"Written to {folder}: base.safetensors, {where}",
            written=folder,
        )


COMMAND = make_command(finetune, epilog=EXAMPLES)
