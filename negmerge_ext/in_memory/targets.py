"""Where a merge in memory puts its tensors: a new state dict like the base, or one that the user gave."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes, native
from ..compatibility import unfit_problems
from ..device_failures import named_failures
from ..errors import (
    DtypeError,
    InputError,
    MissingTensorError,
    NegmergeError,
    OptionError,
    ShapeMismatchError,
    UnexpectedTensorError,
    UnsupportedTensorError,
    raise_problems,
)
from ..plan import Plan, PlannedTensor
from .copying import copy_elements, packed_room
from .device_memory import CPU
from .overlap import overlaps_itself, overlaps_with_inputs, overlaps_within, tied_tensors
from .plain_tensor import Value, footprint
from .state_dict import MemoryRows, StateDictSource

if TYPE_CHECKING:
    from .state_dict import StateDict


class Target:
    """The output tensors of a plan, in memory.

    result: what the user gets. rows: the tensors to be written, one per tensor of the plan. tied: plan
    index of a tensor to the plan index of the earlier one whose memory it shares; only the latter is
    written.
    """

    def __init__(self, result: Any, rows: MemoryRows, tied: dict[int, int]) -> None:
        self.result = result
        self.rows = rows
        self.tied = tied

    @contextmanager
    def row_major_addresses(self, left_out: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """int64 ``[tensors]``: where to write each tensor in row-major order; 0 for the tied ones.

        left_out: bool ``[tensors]``, others that are not to be written and get 0. Addresses are those of each
        tensor's own device. A tensor with another layout gets a temporary one, copied into place when the
        block ends without an exception.
        """
        address = self.rows.start.copy()
        address[list(self.tied)] = 0
        if left_out is not None:
            address[left_out] = 0
        temporary: list[tuple[Value, Value]] = []
        for index in np.flatnonzero(~self.rows.row_major & (address != 0)).tolist():
            value = self.rows.values[index]
            packed, address[index] = packed_room(value)
            temporary.append((packed, value))
        yield address
        for packed, value in temporary:
            copy_elements(packed, value)


def new_target(plan: Plan[Any], base: StateDictSource | None, threads: int = 0) -> Target:
    """Make a state dict like the base: names, order, layout, ties, torch or numpy as there; uninitialised.

    Large memory is had from the system at once, in huge pages until they come slowly and by ``threads``
    threads (0: the default): page faults while merging take longer.

    base: the base if it is a state dict, whose entries that are no tensors go along as they are; the tensors
    of a base on disk become torch tensors. Raises :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    tied = tied_tensors(plan.tensors, plan.base)
    if base is None or plan.base.on_cpu:
        values, start, sizes = _empty_values(plan, tied, base)
    else:
        with named_failures():
            values, start, sizes = _empty_values(plan, tied, base)
    result: dict[str, Any] = OrderedDict() if base and isinstance(base.state, OrderedDict) else {}
    result.update(zip(plan.tensors.table.names, values, strict=True))
    if base is not None and base.unfit:
        made = dict(result)
        result.clear()
        result.update((name, made.get(name, value)) for name, value in base.state.items())
    if base is not None and isinstance(result, OrderedDict) and hasattr(base.state, "_metadata"):
        result._metadata = base.state._metadata.copy()  # type: ignore[attr-defined]
    # An empty copy of a packed tensor is packed; of another one it may be, for torch and numpy alike.
    row_major = np.ones(len(values), bool) if base is None else plan.base.row_major.copy()
    for index in np.flatnonzero(~row_major).tolist():
        row_major[index] = footprint(values[index]).flags.c_contiguous
    if base is None or plan.base.on_cpu:
        native.populate(start, sizes, threads)
        return Target(result, MemoryRows(values, start, row_major, sizes), tied)
    here = plan.base.device == CPU
    native.populate(start[here], sizes[here], threads)
    return Target(result, MemoryRows(values, start, row_major, sizes, device=plan.base.device), tied)


def given_target(plan: Plan[Any], out: StateDict) -> Target:
    """Check everything about an output that the user gave, before any of it is written.

    Raises, all problems together: :class:`MissingTensorError` and :class:`UnexpectedTensorError` for names
    unlike the base's, :class:`ShapeMismatchError`, :class:`DtypeError` (:class:`OptionError` if
    ``out_dtype`` was asked for), :class:`UnsupportedTensorError` for memory that cannot be written or
    overlaps other tensors. Excluded entries that are no tensors are left as they are.
    """
    source = StateDictSource(out, "out")
    names = plan.tensors.table.names
    if _plainly_fits(plan, source):
        rows = source.rows(source.tensors.names)
    else:
        problems = [*_unfit_problems(plan, source), *_name_problems(source, names)]
        given = dict(zip(source.tensors, source.values, strict=True))
        for tensor in plan.tensors:
            if tensor.name in given:
                problems += _tensor_problems(source, given[tensor.name], tensor, plan.options.out_dtype)
        raise_problems(problems)
        rows = source.rows(names)
    problems = [
        _unwritable(names[index], "has elements that share their memory", "Use .clone()")
        for index in np.flatnonzero(~rows.row_major).tolist()
        if overlaps_itself(footprint(rows.values[index]))
    ]
    raise_problems(problems)
    tied = tied_tensors(plan.tensors, rows)
    problems = [
        _unwritable(names[b], f"overlaps '{names[a]}'", "Give every tensor its own memory")
        for a, b in overlaps_within(rows, tied)
    ]
    problems += [
        _unwritable(
            names[target],
            f"overlaps '{names[index]}' of {'the base' if model is None else f'finetuned[{model}]'}",
            "Give out memory of its own, or merge in place (out=base)",
        )
        for target, model, index in overlaps_with_inputs(plan, rows, tied)
    ]
    raise_problems(problems)
    return Target(out, rows, tied)


def _plainly_fits(plan: Plan[Any], source: StateDictSource) -> bool:
    """Whether an output has ordinary tensors of just the names, order, shapes and dtypes to be written."""
    return (
        source.ordinary
        and source.tensors.same_shapes(plan.tensors.table)
        and np.array_equal(source.tensors.dtype, plan.tensors.out_dtype)
    )


def _name_problems(source: StateDictSource, names: Sequence[str]) -> list[NegmergeError]:
    remedy = "Give out the names of the base"
    known = set(names)
    problems: list[NegmergeError] = [
        MissingTensorError("is in the base but not here", path=source.label, tensor=name, remedy=remedy)
        for name in names
        if name not in source.tensors and name not in source.unfit
    ]
    return problems + [
        UnexpectedTensorError("is not in the base", path=source.label, tensor=name, remedy=remedy)
        for name in source.tensors
        if name not in known
    ]


def _unfit_problems(plan: Plan[Any], source: StateDictSource) -> list[NegmergeError]:
    names = set(plan.tensors.table.names)
    # What the base has as a tensor must be one here, excluded or not.
    unfit = {
        name: why
        for name, why in source.unfit.items()
        if why.tensor or name in names or plan.options.selects(name)
    }
    return unfit_problems(source.label, unfit)


def _tensor_problems(
    source: StateDictSource, value: Value, tensor: PlannedTensor, asked: str | None
) -> list[NegmergeError]:
    info = source.tensors[tensor.name]
    problems: list[NegmergeError] = []
    if info.shape != tensor.shape:
        problems.append(
            ShapeMismatchError(
                f"has shape {list(info.shape)}, the base {list(tensor.shape)}",
                path=source.label,
                tensor=tensor.name,
            )
        )
    if info.dtype != tensor.out_dtype:
        kind: type[InputError] = DtypeError if asked is None or not tensor.merged else OptionError
        problems.append(
            kind(
                f"has dtype {info.dtype}, but {tensor.out_dtype} is to be written",
                path=source.label,
                tensor=tensor.name,
                remedy="Give tensors of that dtype, or out_dtype if all merged tensors share another one",
            )
        )
    if tensor.name in source.copied:
        problems.append(
            _unwritable(
                tensor.name, "does not store its values as they are (byte order, conjugate or negative view)"
            )
        )
    elif isinstance(value, np.ndarray) and not value.flags.writeable:
        problems.append(_unwritable(tensor.name, "is read-only"))
    return problems


def _unwritable(name: str, message: str, remedy: str = "Give a writable copy") -> UnsupportedTensorError:
    return UnsupportedTensorError(message, path="out", tensor=name, remedy=remedy)


def _empty_values(
    plan: Plan[Any], tied: dict[int, int], base: StateDictSource | None
) -> tuple[list[Value], np.ndarray, np.ndarray]:
    """New tensors, their addresses and their bytes."""
    tensors, values = plan.tensors, list[Value]()
    if base is not None and base.ordinary and not tied and tensors.out_dtype is tensors.table.dtype:
        import torch

        empty_like: Any = torch.empty_like
        values += map(empty_like, base.values)
        address: Any = torch.Tensor.data_ptr
        return values, np.array(list(map(address, values)), np.int64), plan.base.sizes
    for index, tensor in enumerate(tensors):
        like = None if base is None else base.values[index]
        values.append(values[tied[index]] if index in tied else _empty(tensor, like))
    start, sizes = np.array([_place(value) for value in values], np.int64).reshape(-1, 2).T
    return values, np.ascontiguousarray(start), np.ascontiguousarray(sizes)


def _empty(tensor: PlannedTensor, like: Value | None) -> Value:
    if isinstance(like, np.ndarray):
        dtype = like.dtype if tensor.out_dtype == tensor.dtype else dtypes.to_numpy(tensor.out_dtype)
        return np.empty_like(like, dtype=dtype)
    import torch

    if like is None:
        return torch.empty(tensor.shape, dtype=dtypes.to_torch(tensor.out_dtype), device="cpu")
    if tensor.out_dtype == tensor.dtype:
        return torch.empty_like(like)
    return torch.empty_like(like, dtype=dtypes.to_torch(tensor.out_dtype))


def _place(value: Value) -> tuple[int, int]:
    """Address and bytes."""
    if isinstance(value, np.ndarray):
        return value.__array_interface__["data"][0], value.nbytes
    return value.data_ptr(), value.nbytes
