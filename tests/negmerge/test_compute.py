from __future__ import annotations

from unittest import mock

import pytest
import torch
from negmerge.compute import Compute, memory_format
from negmerge.devices import device_named
from negmerge.errors import RecipeError
from negmerge.models.resnet18 import ResNet18

from negmerge_ext.errors import DeviceError


def compute(small, **options: str) -> Compute:
    return Compute.of(small.model_copy(update=options))


def test_auto_is_the_first_gpu_or_else_the_cpu(small):
    with mock.patch("torch.cuda.device_count", return_value=0):
        assert compute(small) == Compute(torch.device("cpu"), None)
    with (
        mock.patch("torch.cuda.device_count", return_value=2),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
    ):
        assert compute(small) == Compute(torch.device("cuda:0"), torch.bfloat16)
        assert compute(small, precision="float32") == Compute(torch.device("cuda:0"), None)
    with (
        mock.patch("torch.cuda.device_count", return_value=2),
        mock.patch("torch.cuda.is_bf16_supported", return_value=False),
    ):
        assert compute(small).lower == torch.float16


def test_what_is_not_there_is_refused(small):
    with mock.patch("torch.cuda.device_count", return_value=0):
        with pytest.raises(DeviceError, match=r"'cuda:1': there is no such device. Devices here: cpu"):
            compute(small, device="cuda:1")
        with pytest.raises(RecipeError, match="float16 needs a GPU"):
            compute(small, precision="float16")
    with pytest.raises(DeviceError, match="'gpu': is no name of a device"):
        device_named("gpu")


def test_plain_cuda_is_the_first_gpu():
    with mock.patch("torch.cuda.device_count", return_value=2):
        assert device_named("cuda") == device_named("auto") == torch.device("cuda:0")


def test_pixels_are_shares_of_white():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3).expand(2, 3, 1, 3)
    pixels = Compute(torch.device("cpu")).pixels(images)
    assert torch.equal(pixels[0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))


def test_narrow_convolutions_are_trained_in_the_order_that_does_not_crash():
    assert memory_format(ResNet18(width=8, classes=2)) == torch.channels_last
    assert memory_format(ResNet18(width=4, classes=2)) == torch.contiguous_format
