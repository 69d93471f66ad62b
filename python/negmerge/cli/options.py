"""Arguments and options that several commands share, and parsers of their values."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

CHOICE, RUNNING, OUTPUT = "What is merged", "How it runs", "Output"


def path(value: str) -> Path:
    """A path, which would be the current folder if it were empty."""
    if not value:
        raise ValueError("is empty; the current folder is '.'")
    return Path(value)


def output(value: str) -> Path:
    """A path to write to: one that a rename can put a file or a folder to."""
    out = path(value)
    if out.exists() and not (out.is_file() or out.is_dir()):
        raise ValueError(f"{value} is neither a file nor a folder; give a name that ends in .safetensors")
    return out


def positive(value: str) -> int:
    """An integer from 1 on."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"{value!r} is not an integer from 1 on")
    return number


def one_of(choices: type[Enum]) -> Callable[[str], str]:
    """A parser of the values of ``choices``, which are text."""
    values = [choice.value for choice in choices]

    def parse(value: str) -> str:
        if value not in values:
            raise ValueError(f"{value!r} is not one of {', '.join(values)}")
        return value

    return parse


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None


def _dtype(value: str) -> str:
    from negmerge_ext import dtypes

    return dtypes.parse(value)


def _dtypes() -> list[str]:
    from negmerge_ext import dtypes

    return [dtypes.torch_name(name) for name in dtypes.CODES]


def _methods() -> list[str]:
    from negmerge_ext.methods import methods

    return list(methods())


def _modes() -> list[str]:
    from negmerge_ext.options import MODES

    return list(MODES)


Base = Annotated[
    Path,
    typer.Argument(
        metavar="BASE",
        parser=path,
        show_default=False,
        help="Base checkpoint: a .safetensors file, a Hugging Face folder, or a .pt/.pth/.bin state dict.",
    ),
]
Finetuned = Annotated[
    list[Path],
    typer.Argument(
        metavar="FT",
        parser=path,
        show_default=False,
        help="One or more checkpoints fine-tuned from BASE, in the same formats.",
    ),
]
PatchFile = Annotated[
    Path,
    typer.Argument(
        metavar="PATCH", parser=path, show_default=False, help="A patch that negmerge patch make wrote."
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=str,
        autocompletion=_methods,
        help="How task vectors become one: negmerge (the mean where all have one sign), uniform (the mean "
        "everywhere), conflict (the mean where negmerge keeps nothing), magmax (the largest entry), or ties, "
        "with parameters as in ties:density=0.2,per=model (or per=tensor).",
        rich_help_panel=CHOICE,
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        metavar="negate|add|vector",
        parser=str,
        autocompletion=_modes,
        help="Move BASE against the merged vector, along it, or write the vector itself.",
        rich_help_panel=CHOICE,
    ),
]
Scale = Annotated[
    float,
    typer.Option(
        metavar="NUMBER",
        parser=_number,
        help="Scaling coefficient λ, any finite number.",
        rich_help_panel=CHOICE,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        parser=str,
        show_default=False,
        help="Merge only tensors whose whole name matches; may be repeated. The rest is copied from BASE. "
        "Default: all but BatchNorm running statistics; '*' is all.",
        rich_help_panel=CHOICE,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        parser=str,
        show_default=False,
        help="Copy tensors whose whole name matches from BASE; may be repeated.",
        rich_help_panel=CHOICE,
    ),
]
OutDtype = Annotated[
    str | None,
    typer.Option(
        metavar="DTYPE",
        parser=_dtype,
        autocompletion=_dtypes,
        show_default=False,
        help="Dtype of the merged tensors: float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2. "
        "Default: as in BASE.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", metavar="", help="Replace an existing output.", rich_help_panel=OUTPUT),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="One JSON document on stdout and nothing else; an error is one on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", metavar="", help="No progress bar and no summary.", rich_help_panel=OUTPUT),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        parser=str,
        show_default=False,
        help="Bound on the memory that the merge allocates: bytes, or a size such as 256MiB or 2GB. "
        "Default: 512MiB.",
        rich_help_panel=RUNNING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=positive,
        show_default=False,
        help="Threads that compute; the result does not depend on it. Default: all usable cores.",
        rich_help_panel=RUNNING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        parser=str,
        autocompletion=lambda: ["auto", "cpu", "cuda"],
        show_default=False,
        help="Device that merges: cpu, cuda or cuda:1. Default: auto, which is cpu for files.",
        rich_help_panel=RUNNING,
    ),
]
