"""Every model of open_clip, as ``open_clip/NAME``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import open_clip
import torch

from ...errors import RecipeError
from ..classifier import refuse
from ..weights import checkpoint_path
from .clip import Clip

if TYPE_CHECKING:
    from ...recipe import Model

#: Names that open_clip takes for a folder with a checkpoint and its description, and for one on a hub.
_SCHEMES = ("local-dir:", "hf-hub:")


def names() -> list[str]:
    """Architectures that open_clip has descriptions of."""
    return list(open_clip.list_models())


def accepts(name: str) -> bool:
    """A folder or hub that has its own description."""
    return name.startswith(_SCHEMES)


def build(spec: Model, *, with_weights: bool) -> Clip:
    """``pretrained`` is a tag of open_clip, which downloads, or a checkpoint; folders have their own.

    without weights: the architecture, random. Raises :class:`~negmerge.errors.RecipeError` if they cannot be
    had.
    """
    refuse(spec, "width", "image_size")
    name = spec.name.partition("/")[2]
    path = checkpoint_path(spec)
    with _problems_told(spec):
        model = open_clip.create_model(
            name,
            spec.pretrained if path is None else str(path),
            load_weights=with_weights,
            device=torch.get_default_device(),  # it would be moved to the CPU from wherever it is built
        )
        tokenize = open_clip.get_tokenizer(name)
    preprocess: Any = open_clip.get_model_preprocess_cfg(model)
    side = preprocess["size"]
    return Clip(
        model=model,
        tokenize=tokenize,
        side=side if isinstance(side, int) else side[0],
        mean=preprocess["mean"],
        std=preprocess["std"],
    )


@contextmanager
def _problems_told(spec: Model) -> Iterator[None]:
    """Within the block open_clip logs nothing, and what goes wrong is said in the recipe's words."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    except UserWarning as problem:
        raise RecipeError(
            f"{spec.name} computes another activation than the weights {spec.pretrained!r} were trained with",
            remedy="Use the architecture whose name ends in -quickgelu, or the one without that ending",
        ) from problem
    except (OSError, RuntimeError, ValueError, KeyError) as problem:
        raise RecipeError(
            f"{spec.name} with weights {spec.pretrained!r} cannot be had: {str(problem).rstrip('.')}",
            remedy="Give a tag that open_clip can download, or a checkpoint, as model.pretrained",
        ) from problem
    finally:
        logging.disable(before)
