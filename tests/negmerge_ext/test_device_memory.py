"""What is asked of torch about streams, by a torch that has no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from negmerge_ext.errors import DeviceError
from negmerge_ext.in_memory.device_memory import TorchCuda


@pytest.mark.parametrize(
    ("captured", "waits"), [((), True), (("first", "second"), True), (("second",), False), (("first",), None)]
)
def test_streams_wait_for_each_other_within_a_graph_or_outside(
    captured: tuple[str, ...], waits: bool | None
) -> None:
    """``None``: an error, for waiting would bring the second stream into the graph of the first."""
    first, second, memory = mock.Mock(), mock.Mock(), mock.Mock()
    streams = {"first": first, "second": second}
    current: list[object] = []

    @contextmanager
    def stream(one: object) -> Iterator[None]:
        current.append(one)
        yield
        current.pop()

    def is_capturing() -> bool:
        return current[-1] in [streams[name] for name in captured]

    with (
        mock.patch("torch.cuda.stream", stream),
        mock.patch("torch.cuda.is_current_stream_capturing", is_capturing),
    ):
        if waits is None:
            with pytest.raises(DeviceError, match="captured by a graph"):
                TorchCuda().follow(first, second, [memory])
            assert not memory.record_stream.called
            return
        TorchCuda().follow(first, second, [memory])
    assert second.wait_stream.called == waits
    memory.record_stream.assert_called_once_with(second)
