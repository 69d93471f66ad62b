"""One tensor in memory: does it have plain memory, where does that lie, what is in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .. import dtypes
from ..device_failures import named_failures
from ..errors import DeviceError, InputError, UnsupportedTensorError
from ..source import TensorInfo, Unfit
from . import device_memory
from .device_memory import CPU

if TYPE_CHECKING:
    import torch

#: What a state dict may hold.
Value: TypeAlias = "torch.Tensor | np.ndarray"


class NotPlainError(Exception):
    """Why a tensor cannot be read by address, without saying yet where it comes from."""

    def __init__(self, kind: type[InputError], message: str, remedy: str, *, tensor: bool = True) -> None:
        super().__init__(message)
        self.reason = Unfit(kind, message, remedy, tensor)


class Located(NamedTuple):
    """A tensor with plain memory.

    value: the tensor, or a private copy if its own memory does not hold its values (``copied``). address:
    of its first element. row_major: whether its elements lie there packed in row-major order. device: number
    of the CUDA device, or :data:`~negmerge_ext.in_memory.device_memory.CPU`.
    """

    value: Value
    info: TensorInfo
    address: int
    row_major: bool
    copied: bool
    device: int = CPU


def is_torch(value: object) -> bool:
    """Whether ``value`` is a torch tensor; imports nothing."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def locate(value: object) -> Located:
    """Find the memory of a tensor; :class:`NotPlainError` if it has none that can be read here."""
    if is_torch(value):
        return _locate_torch(value)  # type: ignore[arg-type]
    if isinstance(value, np.ndarray):
        return _locate_numpy(value)
    raise NotPlainError(
        UnsupportedTensorError,
        f"is a {type(value).__qualname__}, not a torch tensor or numpy array",
        "Exclude it to keep it as it is, remove it from the state dict, or convert it",
        tensor=False,
    )


def raw_tensor(value: torch.Tensor) -> torch.Tensor:
    """The memory of a located torch tensor as one with the same shape and strides, outside of autograd.

    Of integers, whose bits torch copies and compares as they are; elements of other sizes than 1, 2, 4 or 8
    bytes keep their dtype.
    """
    import torch

    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(value.element_size())
    return value.detach() if bits is None else value.detach().view(bits)


def raw_view(value: Value) -> np.ndarray:
    """The memory of a located tensor on the CPU as an array with the same shape and strides.

    Of unsigned integers, whose bits numpy copies and compares as they are; elements of other sizes than 1, 2,
    4 or 8 bytes keep their dtype.
    """
    if isinstance(value, np.ndarray):
        size = value.dtype.itemsize
        return value.view(f"u{size}") if size in (1, 2, 4, 8) else value
    array: np.ndarray = raw_tensor(value).numpy()
    return array.view(f"u{value.element_size()}") if array.dtype.kind in "iu" else array


def footprint(value: Value) -> np.ndarray:
    """An array of a located tensor's address, shape, strides and element size, to be compared with others.

    That of a tensor on a device must not be read. (Devices and the CPU share one range of addresses.)
    """
    if isinstance(value, np.ndarray) or device_memory.cuda.device_of(value) == CPU:
        return raw_view(value)
    return np.asarray(_Footprint(value))


def same_elements(value: Value, other: Value, tensor: str | None = None) -> bool:
    """Whether two located tensors of one shape and dtype hold the same bits; on a device, waits for it.

    Tensors on different devices are compared on the CPU. tensor: its name, for errors. Raises
    :class:`~negmerge_ext.errors.DeviceError`.
    """
    one, two = footprint(value), footprint(other)
    if (one.ctypes.data, one.strides) == (two.ctypes.data, two.strides):
        return True
    here, there = (
        CPU if isinstance(v, np.ndarray) else device_memory.cuda.device_of(v) for v in (value, other)
    )
    if here == there == CPU:
        return np.array_equal(raw_view(value), raw_view(other))
    a, b = raw_tensor(value), raw_tensor(other)  # type: ignore[arg-type]
    import torch

    with named_failures(there if here == CPU else here, tensor):
        return torch.equal(a, b) if here == there else torch.equal(a.cpu(), b.cpu())


class _Footprint:
    """What numpy asks for to make an array over memory."""

    def __init__(self, value: torch.Tensor) -> None:
        itemsize = value.element_size()
        self.__array_interface__ = {
            "version": 3,
            "data": (value.data_ptr(), False),
            "shape": tuple(value.shape),
            "strides": tuple(stride * itemsize for stride in value.stride()),
            "typestr": f"<u{itemsize}" if itemsize in (2, 4, 8) else f"|V{itemsize}",
        }


def mark_written(values: Iterable[Value]) -> None:
    """Tell autograd that tensors changed, so that graphs which saved them refuse to go backward."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    written = [value for value in values if not isinstance(value, np.ndarray)]
    try:
        torch.autograd.graph.increment_version(written)
    except RuntimeError:  # inference tensors are in no graph and have no version
        torch.autograd.graph.increment_version([value for value in written if not value.is_inference()])


def _locate_torch(value: torch.Tensor) -> Located:
    plain = _without_subclass(value)
    device = _device_of_strided(plain)
    copied = plain.is_conj() or plain.is_neg()
    if copied:
        plain = plain.detach().resolve_conj().resolve_neg()
    try:
        address = plain.data_ptr()
    except RuntimeError:
        address = 0
    if address == 0 and plain.numel() > 0:
        raise NotPlainError(
            UnsupportedTensorError, "has no memory of its own", "Merge outside of function transforms"
        )
    info = TensorInfo(dtypes.from_torch(plain.dtype), tuple(plain.shape))
    return Located(plain, info, address, plain.is_contiguous(), copied, device)


def _without_subclass(value: torch.Tensor) -> torch.Tensor:
    import torch

    kind = type(value)
    if torch.nn.parameter.is_lazy(value):
        raise NotPlainError(
            UnsupportedTensorError,
            "is not initialised yet",
            "Run the module once so that its lazy parameters get their shapes",
        )
    if kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise NotPlainError(
            UnsupportedTensorError,
            f"is a {kind.__qualname__}, a tensor subclass without plain memory of its own",
            "Convert it to an ordinary tensor (a DTensor with full_tensor())",
        )
    if kind in (torch.Tensor, torch.nn.Parameter):
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(torch.Tensor)


def _device_of_strided(value: torch.Tensor) -> int:
    """The device of a tensor, unless its layout or its device is one that cannot be read by address."""
    import torch

    if value.is_meta:
        raise NotPlainError(
            UnsupportedTensorError, "is a meta tensor, which has no data", "Load the weights first"
        )
    if value.is_nested:
        raise NotPlainError(UnsupportedTensorError, "is a nested tensor", "Merge its parts as tensors")
    if value.is_quantized:
        raise NotPlainError(
            UnsupportedTensorError, "is a quantised tensor", "Merge before quantising, or dequantise()"
        )
    if value.layout != torch.strided:
        raise NotPlainError(
            UnsupportedTensorError, f"has layout {value.layout}, not strided memory", "Use to_dense()"
        )
    device = device_memory.cuda.device_of(value)
    if device is None:
        raise NotPlainError(
            DeviceError, f"is on {value.device}, and merges run on the CPU and CUDA", "Move it with .cpu()"
        )
    return device


def _locate_numpy(value: np.ndarray) -> Located:
    if isinstance(value, np.ma.MaskedArray):
        raise NotPlainError(UnsupportedTensorError, "is a masked array", "Fill it with .filled()")
    if value.dtype.hasobject:
        raise NotPlainError(
            UnsupportedTensorError, "is an array of Python objects", "Convert it to a numeric dtype"
        )
    copied = not value.dtype.isnative
    plain: np.ndarray[Any, Any] = np.asarray(value)
    if copied:
        plain = plain.astype(plain.dtype.newbyteorder("="))
    info = TensorInfo(dtypes.from_numpy(plain.dtype), plain.shape)
    return Located(plain, info, plain.__array_interface__["data"][0], plain.flags.c_contiguous, copied)
