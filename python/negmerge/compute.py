"""Where models are trained and evaluated, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from .devices import device_named
from .errors import RecipeError
from .recipe import Recipe

_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Compute:
    """A device of torch.

    lower: what the forward passes of training compute in where autocast finds it safe; ``None`` is float32
    throughout. Evaluation is always in float32.
    """

    device: torch.device
    lower: torch.dtype | None = None

    @classmethod
    def of(cls, recipe: Recipe, device_name: str | None = None) -> Compute:
        """What a recipe asks for, or its precision on another device.

        Raises :class:`~negmerge_ext.errors.DeviceError` for a device that is not there,
        :class:`~negmerge.errors.RecipeError` for a precision that it lacks.
        """
        device = device_named(recipe.device if device_name is None else device_name)
        if recipe.precision != "auto":
            if recipe.precision == "float16" and device.type == "cpu":
                raise RecipeError("precision float16 needs a GPU", remedy="Use bfloat16 or float32")
            return cls(device, _DTYPES[recipe.precision])
        if device.type == "cpu":
            # bfloat16 is faster on some CPUs and slower on others; results must not depend on that.
            return cls(device)
        return cls(device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)

    def autocast(self) -> AbstractContextManager[None]:
        """For the forward passes of training."""
        enabled = self.lower is not None
        return torch.autocast(self.device.type, dtype=self.lower or torch.bfloat16, enabled=enabled)

    def pixels(
        self, images: torch.Tensor, memory_format: torch.memory_format = torch.channels_last
    ) -> torch.Tensor:
        """uint8 images ``[n, channels, height, width]`` as float32 in [0, 1]."""
        on_device = images.to(self.device, non_blocking=True)
        return (on_device.float() / 255).contiguous(memory_format=memory_format)


def memory_format(model: nn.Module) -> torch.memory_format:
    """The order of dimensions to train a model in: the fastest for convolutions, where that is safe.

    With fewer than 8 input channels, the backward pass of a 1×1 convolution with a stride writes past its
    memory in that order, in torch 2.14.1 on CPUs that have AVX2 and no AVX-512.
    """
    narrow = any(
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < 8
        for module in model.modules()
    )
    return torch.contiguous_format if narrow else torch.channels_last


#: The CPU, in float32.
CPU = Compute(torch.device("cpu"))
