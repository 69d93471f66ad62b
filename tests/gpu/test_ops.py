"""The torch operator on a GPU."""

from __future__ import annotations

import pytest
import torch
from on_gpu import models, on_gpu

import negmerge_ext  # noqa: F401  (registers the operator)
from negmerge_ext.errors import DeviceError


def tensors(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, list[torch.Tensor]]:
    base, pool = models(3)
    return on_gpu(base)["images"].to(dtype), [on_gpu(state)["images"].to(dtype) for state in pool]


@pytest.fixture(autouse=True)
def _forget_compiled_graphs() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    base, finetuned = tensors(dtype)
    torch.library.opcheck(torch.ops.negmerge.merge.default, (base, finetuned, 0.3))
    torch.library.opcheck(
        torch.ops.negmerge.merge.default,
        (base, finetuned[:1]),
        {"scale": 2.0, "mode": "add", "method": "uniform"},
    )


def test_values() -> None:
    base, finetuned = tensors()
    merged = torch.ops.negmerge.merge(base, finetuned, 0.3)
    expected = torch.ops.negmerge.merge(base.cpu(), [value.cpu() for value in finetuned], 0.3)
    assert torch.equal(merged.cpu(), expected)
    assert merged.stride() == base.stride()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled(mode: str) -> None:
    """Also with CUDA graphs, which is what "reduce-overhead" means."""

    def step(base: torch.Tensor, finetuned: list[torch.Tensor]) -> torch.Tensor:
        return torch.ops.negmerge.merge(base.relu(), finetuned, 0.3) + 1

    compiled = torch.compile(step, fullgraph=True, mode=mode)
    for shift in range(4):
        base, finetuned = tensors()
        base += shift
        assert torch.equal(compiled(base, finetuned), step(base, finetuned))


def test_inputs_on_different_devices() -> None:
    base, finetuned = tensors()
    with pytest.raises(DeviceError, match=r"finetuned\[0\] is on cpu, base on cuda:0"):
        torch.ops.negmerge.merge(base, [value.cpu() for value in finetuned])
