"""``negmerge zero-shot``: accuracies of a model of images and text, beside published ones."""

from __future__ import annotations

from typing import Annotated

import typer

from .commands import make_command
from .options import RUNNING, AsJson, Quiet, Threads
from .show import collecting, show_exactly

EXAMPLES = """\
Examples:
  negmerge zero-shot open_clip/ViT-B-32-quickgelu --pretrained openai mnist svhn dtd
  negmerge zero-shot open_clip/local-dir:models/clip cifar10
  negmerge zero-shot clip/efficientnet_lite0 --pretrained clip.safetensors cifar10 mnist"""


def zero_shot(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            parser=str,
            show_default=False,
            help="A model as recipes name it: open_clip/NAME, open_clip/local-dir:FOLDER or clip/NAME.",
        ),
    ],
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            parser=str,
            show_default=False,
            help="Data sets, as negmerge data list names them.",
        ),
    ],
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            parser=str,
            show_default=False,
            help="A tag of open_clip, such as openai, or a checkpoint.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            parser=str,
            help="Where the model runs: auto, cpu, cuda or cuda:1.",
            rich_help_panel=RUNNING,
        ),
    ] = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what a model of images and text makes of data sets by prompts alone.

    Accuracies on validation and test splits stand beside those that NegMerge's authors published for
    OpenAI's ViT-B/32. If yours for that model differ by more than rounding, so will everything after, but for
    the data sets with a mark, of which our classes' wording or splits are not theirs.
    """
    import json
    import os
    from dataclasses import asdict

    from pydantic import ValidationError

    from ..compute import Compute
    from ..console import Reporter
    from ..devices import device_named
    from ..errors import RecipeError
    from ..models import knows_text
    from ..recipe import Data, Model
    from ..torch_settings import settings
    from ..zero_shot import zero_shot as evaluated

    try:
        spec, sets = Model(name=model, pretrained=pretrained), [Data(name=name) for name in data]
    except ValidationError as problem:
        said = problem.errors()[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(said) from problem
    if not knows_text(spec.name):
        raise RecipeError(f"{spec.name} knows nothing of text", remedy="Name open_clip/… or clip/…")
    reporter = Reporter(quiet=quiet or as_json)
    compute = Compute(device_named(device))
    with (
        settings(compute.device, threads or len(os.sched_getaffinity(0))),
        reporter.stage(f"{spec.name}: evaluating", len(sets)) as stage,
    ):
        found = evaluated(spec, sets, compute, stage.advance)
    if as_json:
        plain = {"model": spec.model_dump(), "data_sets": [asdict(one) for one in found]}
        show_exactly(json.dumps(plain, indent=2))
        return
    from ..report.zero_shot_table import zero_shot_table

    console, collected = collecting(markup=True)
    if not console.is_terminal:
        console.width = 110
    console.print(zero_shot_table(spec, found))
    show_exactly(collected.getvalue())


COMMAND = make_command(zero_shot, epilog=EXAMPLES)
