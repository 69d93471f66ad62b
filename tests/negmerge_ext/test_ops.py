"""The torch operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
import torch
from state_dicts import TORCH_LAYOUTS, as_numpy, as_torch, laid_out
from values import agreeing

import negmerge_ext  # noqa: F401  (registers the operator)
from negmerge_ext.errors import DeviceError, OptionError, PoolError, ShapeMismatchError

DTYPES = {str(dtype): dtype for dtype in oracle.DTYPES}


@pytest.fixture(autouse=True)
def _forget_compiled_graphs() -> None:
    torch._dynamo.reset()


def inputs(
    dtype: np.dtype, models: int, layout: str = "packed", shape: tuple[int, ...] = (3, 4, 5)
) -> tuple[torch.Tensor, list[torch.Tensor], np.ndarray]:
    """A base, a pool, and what merging them with scale 0.3 gives."""
    base, finetuned = agreeing(np.random.default_rng(0), shape, dtype, (dtype,) * models)
    expected = oracle.merge(base, finetuned, scale=0.3)
    return as_torch(laid_out(base, layout)), [as_torch(laid_out(x, layout)) for x in finetuned], expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("models", [1, 2, 9])
def test_values(dtype: str, models: int) -> None:
    base, finetuned, expected = inputs(DTYPES[dtype], models)
    assert oracle.same_bits(as_numpy(torch.ops.negmerge.merge(base, finetuned, 0.3)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_opcheck(dtype: str, layout: str) -> None:
    base, finetuned, _ = inputs(DTYPES[dtype], 3, layout)
    torch.library.opcheck(torch.ops.negmerge.merge.default, (base, finetuned, 0.3))
    torch.library.opcheck(
        torch.ops.negmerge.merge.default,
        (base, finetuned[:1]),
        {"scale": 2.0, "mode": "add", "method": "uniform"},
    )


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_compiled_as_one_graph(dtype: str, layout: str) -> None:
    def step(base: torch.Tensor, finetuned: list[torch.Tensor]) -> torch.Tensor:
        return torch.ops.negmerge.merge(base.relu(), finetuned, 0.3) + 1

    base, finetuned, _ = inputs(DTYPES[dtype], 2, layout)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")(base, finetuned)
    eager = step(base, finetuned)
    assert torch.equal(compiled, eager)
    assert compiled.stride() == eager.stride()


@pytest.mark.slow
def test_compiled_by_inductor() -> None:
    def step(base: torch.Tensor, finetuned: list[torch.Tensor]) -> torch.Tensor:
        # Views and this operator alone: inductor then has nothing to hand to a C++ compiler.
        return torch.ops.negmerge.merge(base.T, [x.T for x in finetuned])

    base, finetuned, _ = inputs(oracle.F32, 2, shape=(6, 7))
    assert torch.equal(torch.compile(step, fullgraph=True)(base, finetuned), step(base, finetuned))


def test_result_is_new_memory_with_the_layout_of_empty_like() -> None:
    base, finetuned, _ = inputs(oracle.F32, 1, "rotated")
    merged = torch.ops.negmerge.merge(base, finetuned)
    assert merged.stride() == base.stride()
    assert merged.data_ptr() not in {base.data_ptr(), finetuned[0].data_ptr()}
    empty = torch.ops.negmerge.merge(torch.zeros(0, 3), [torch.ones(0, 3)])
    assert empty.shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            (torch.ones(2), [torch.ones(2), torch.ones(3)]),
            ShapeMismatchError,
            r"^finetuned\[1\] has shape \[3\], base \[2\]$",
        ),
        ((torch.ones(2), []), PoolError, "no fine-tuned"),
        ((torch.ones(2), [torch.ones(2)], 1.0, "minus"), OptionError, "minus"),
        ((torch.ones(2), [torch.ones(2)], float("inf")), OptionError, "finite"),
        ((torch.ones(2), [torch.ones(2)], 1.0, "add", "median"), OptionError, "median"),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        torch.ops.negmerge.merge(*arguments)


def test_no_gradient_goes_through() -> None:
    base = torch.ones(2, requires_grad=True)
    merged = torch.ops.negmerge.merge(base, [torch.zeros(2)])
    with pytest.raises(RuntimeError, match="no autograd formula"):
        merged.sum().backward()


def test_a_meta_tensor_among_real_ones_is_refused() -> None:
    """Its fake kernel would return memory that nobody wrote."""
    with pytest.raises(DeviceError, match=r"finetuned\[0\] is on meta, base on cpu"):
        torch.ops.negmerge.merge(torch.ones(4), [torch.ones(4, device="meta")])
    assert torch.ops.negmerge.merge(torch.ones(4, device="meta"), [torch.ones(4, device="meta")]).is_meta
