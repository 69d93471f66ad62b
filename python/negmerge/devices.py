"""Devices by name: where torch computes, and what a pool is fine-tuned on."""

from __future__ import annotations

import re

import torch

from negmerge_ext.errors import DeviceError

#: What computes where there is no CUDA device.
CPU = "cpu"
#: The first of :func:`all_devices`.
AUTO = "auto"


def all_devices() -> tuple[str, ...]:
    """All CUDA devices, or the CPU if there are none."""
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or (CPU,)


def device_named(name: str) -> torch.device:
    """``auto``, ``cpu``, or a CUDA device: ``cuda:k``, or ``cuda`` for the first.

    Raises :class:`~negmerge_ext.errors.DeviceError` for a device that there is not.
    """
    return torch.device(all_devices()[0] if name == AUTO else _there(name))


def checked_devices(names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` with plain "cuda" made "cuda:0"; each is one worker, and the CPU may be named repeatedly.

    Raises :class:`~negmerge_ext.errors.DeviceError` for a device that there is not, or a CUDA device that is
    named twice.
    """
    checked = tuple(map(_there, names))
    for name in checked:
        if name != CPU and checked.count(name) > 1:
            raise DeviceError(f"device {name!r} is named twice", remedy="Name every CUDA device once")
    return checked


def _there(name: str) -> str:
    full = "cuda:0" if name == "cuda" else name
    there = all_devices()
    if full != CPU and full not in there:
        known = ", ".join((CPU, *(device for device in there if device != CPU)))
        what = "there is no such device" if re.fullmatch(r"cuda:\d+", full) else "is no name of a device"
        raise DeviceError(f"device {name!r}: {what}", remedy=f"Devices here: {known}")
    return full


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of main memory on ``device``, without waiting for what that has to do before.

    From memory that is not pinned torch waits for the device, so that launches and work take turns.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
