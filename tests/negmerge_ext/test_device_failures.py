"""What torch and the CUDA module say of a device's failures comes as exceptions of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_in_devices import StandInDevices

from negmerge_ext import Accumulator, Patch, inspect, merge
from negmerge_ext.device_failures import FILES, TENSORS, named, named_failures
from negmerge_ext.errors import DeviceError, DeviceMemoryError

State = dict[str, torch.Tensor]

#: As torch tells what CUDA said.
ILLEGAL = (
    "CUDA error: an illegal memory access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call"
)


def model(devices: StandInDevices, seed: int) -> State:
    """Two tensors on device 1, and one that is copied; the odd models have one in another order."""
    generator = torch.Generator().manual_seed(seed)
    turned = torch.randn(30, 20, generator=generator)
    state = {
        "head": torch.randn(700, generator=generator),
        "turned": turned.t() if seed % 2 else turned.t().contiguous(),
        "steps": torch.tensor(seed),
    }
    return devices.put_all(state, 1)


def accumulate(base: State, pool: list[State], folder: Path) -> None:
    accumulator = Accumulator(base)
    accumulator.add(pool[0])
    accumulator.patch()


def apply(base: State, pool: list[State], folder: Path) -> None:
    on_cpu = [{name: value.clone() for name, value in state.items()} for state in (base, *pool)]
    Patch.make(on_cpu[0], on_cpu[1:]).apply(base)


def tie(base: State, pool: list[State], folder: Path) -> None:
    """The tied tensors of the model have memory of their own."""
    merge({"a": base["head"], "b": base["head"][:]}, [{"a": pool[0]["head"], "b": pool[1]["head"]}])


#: What fails of torch, in what use; the tensor that is named.
USES: list[tuple[object, str, Callable[[State, list[State], Path], Any], str | None]] = [
    (torch, "_foreach_copy_", lambda base, pool, _: merge(base, pool), None),
    (torch.Tensor, "copy_", lambda base, pool, _: merge(base, pool), "turned"),
    (torch.Tensor, "copy_", lambda base, pool, _: inspect(base, pool), None),
    (torch.Tensor, "cpu", lambda base, pool, _: inspect(base, pool), None),
    (torch.Tensor, "copy_", lambda base, pool, folder: merge(base, pool, out=folder / "o.safetensors"), None),
    (torch.Tensor, "cpu", accumulate, None),
    (torch.Tensor, "cpu", apply, "head"),
    (torch, "equal", tie, "b"),
]


@pytest.mark.parametrize(("place", "function", "use", "tensor"), USES)
def test_failures_that_torch_tells(
    place: object,
    function: str,
    use: Callable[[State, list[State], Path], Any],
    tensor: str | None,
    devices: StandInDevices,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    base, *pool = (model(devices, seed) for seed in range(3))

    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError(ILLEGAL)

    with monkeypatch.context() as patched:
        patched.setattr(place, function, fail)
        with pytest.raises(DeviceError) as caught:
            use(base, pool, tmp_path)
    assert caught.value.tensor == tensor
    assert "cuda:1 failed: an illegal memory access was encountered. After" in str(caught.value)
    assert "start the process again" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_device_that_cannot_be_made_current(
    devices: StandInDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def refuse(device: int) -> Iterator[int]:
        raise RuntimeError("CUDA error: device-side assert triggered\nmore")
        yield

    monkeypatch.setattr(devices, "launching", refuse)
    base, tuned = (model(devices, seed) for seed in (0, 2))
    with pytest.raises(DeviceError, match="cuda:1 failed: device-side assert triggered"):
        merge(base, [tuned])


@pytest.mark.parametrize(
    ("problem", "kind", "text"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried 2 MiB.\nmore"),
            DeviceMemoryError,
            "Tried 2 MiB. Free",
        ),
        (RuntimeError("CUDA error: out of memory\nmore"), DeviceMemoryError, "cuda:2: out of memory. Free"),
        (RuntimeError("CUDA driver error: invalid argument"), DeviceError, "cuda:2 failed: invalid argument"),
        (RuntimeError("The size of tensor a must match"), RuntimeError, "The size of tensor a must match"),
        (ValueError("CUDA error: not torch's"), ValueError, "CUDA error"),
    ],
)
def test_only_what_cuda_says_is_turned_into_something_else(
    problem: Exception, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught, named_failures(2, "weight"):
        raise problem
    assert type(caught.value) is kind
    assert getattr(caught.value, "tensor", "weight") == "weight"


@pytest.mark.parametrize(("remedies", "remedy"), [(TENSORS, ".cpu"), (FILES, "--device")])
def test_what_the_cuda_module_tells(remedies: Any, remedy: str) -> None:
    memory = named(RuntimeError("out of memory", 2), 3, remedies)
    assert isinstance(memory, DeviceMemoryError)
    assert str(memory).startswith("cuda:3: out of memory. ")
    assert remedy in str(memory)
    failure = named(RuntimeError("unspecified launch failure", 719), 3, remedies)
    assert isinstance(failure, DeviceError)
    assert str(failure).startswith("cuda:3 failed: unspecified launch failure. ")
    assert "process" in str(failure)
