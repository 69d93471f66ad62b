"""Memory of CUDA devices as torch has it: where a tensor lies, room on a device, its stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..device_failures import named_failures
from ..errors import DeviceError

if TYPE_CHECKING:
    import torch

#: In place of the number of a CUDA device.
CPU = -1


def device_name(device: int) -> str:
    """What torch calls a device."""
    return "cpu" if device == CPU else f"cuda:{device}"


class TorchCuda:
    """CUDA devices by way of torch. Tests put another in its place, with devices made of main memory."""

    def device_of(self, tensor: torch.Tensor) -> int | None:
        """:data:`CPU`, the number of the CUDA device that a tensor lies on, or ``None`` for other devices."""
        if tensor.is_cpu:
            return CPU
        return tensor.device.index if tensor.is_cuda else None

    def current(self) -> int:
        """The device that plain "cuda" means."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return 0
        return int(torch.cuda.current_device())

    def empty(self, nbytes: int, device: int) -> torch.Tensor:
        """Room for work on a device's current stream, at a multiple of 256 bytes.

        Raises :class:`~negmerge_ext.errors.DeviceMemoryError`.
        """
        import torch

        with named_failures(device):
            return torch.empty(nbytes, dtype=torch.uint8, device=torch.device("cuda", device))

    @contextmanager
    def launching(self, device: int) -> Iterator[int]:
        """Make ``device`` the current one during the block; gives the handle of its current stream."""
        import torch

        with torch.cuda.device(device):
            yield torch.cuda.current_stream(device).cuda_stream

    def stream(self, device: int) -> Any:
        """The current stream of a device."""
        import torch

        return torch.cuda.current_stream(device)

    def follow(self, earlier: Any, stream: Any, memory: Iterable[torch.Tensor]) -> None:
        """Have the current ``stream`` wait for what is on an ``earlier`` one, and use ``memory``, too.

        A graph that captures ``stream`` alone has nothing to wait for: torch finishes all work before it
        begins. Raises :class:`~negmerge_ext.errors.DeviceError` if a graph captures ``earlier`` alone: to
        wait would make the call a part of it.
        """
        if self._is_capturing(earlier) == self._is_capturing(stream):
            stream.wait_stream(earlier)
        elif self._is_capturing(earlier):
            raise DeviceError(
                "an earlier call is being captured by a graph, and this one is not",
                remedy="Call it on a stream of that graph, or when the graph is captured",
            )
        for tensor in memory:
            tensor.record_stream(stream)

    def _is_capturing(self, stream: Any) -> bool:
        import torch

        with torch.cuda.stream(stream):
            return torch.cuda.is_current_stream_capturing()


#: The one in use.
cuda = TorchCuda()


class CallOrder:
    """Calls that share memory of devices, on whatever streams are current: in the order in which they came.

    Memory that was taken on one stream and is used on another is given to nobody before that use is over.
    """

    def __init__(self) -> None:
        self._streams: dict[int, Any] = {}

    def enter(self, devices: Iterable[int], memory: Callable[[], Iterable[torch.Tensor]]) -> None:
        """Begin a call that works on ``devices``; memory: what is shared so far.

        Raises :class:`~negmerge_ext.errors.DeviceError`.
        """
        for device in devices:
            if device == CPU:
                continue
            with named_failures(device):
                stream = cuda.stream(device)
                earlier = self._streams.setdefault(device, stream)
                if stream != earlier:
                    cuda.follow(earlier, stream, (one for one in memory() if cuda.device_of(one) == device))
                    self._streams[device] = stream


@contextmanager
def launching(device: int) -> Iterator[int]:
    """:meth:`TorchCuda.launching`, whose block raises what the package says where torch or CUDA fail there.

    Raises :class:`~negmerge_ext.errors.DeviceError` and :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    with named_failures(device), cuda.launching(device) as stream:
        yield stream
