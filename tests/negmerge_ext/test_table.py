"""Tables of tensors: as a mapping, and compared at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from negmerge_ext.dtypes import NAMES, NUMBERS
from negmerge_ext.plan import PlannedTensor, PlannedTensors
from negmerge_ext.source import TensorInfo
from negmerge_ext.table import TensorTable

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
INFOS = st.builds(TensorInfo, st.sampled_from([*NAMES, "quint8", "str96"]), SHAPES)
CHECKPOINTS = st.dictionaries(st.sampled_from("abcdef"), INFOS, max_size=5)


@given(CHECKPOINTS)
def test_a_table_is_the_mapping_that_it_was_made_of(tensors: dict[str, TensorInfo]) -> None:
    table = TensorTable.of(tensors)
    assert dict(table) == tensors
    assert list(table) == list(tensors)
    assert ("a" in table) == ("a" in tensors)
    assert table.numel.tolist() == [info.numel for info in tensors.values()]
    assert TensorTable.of(table) is table
    known = [NUMBERS.get(info.dtype) for info in tensors.values()]
    assert all(number in (None, mine) for number, mine in zip(known, table.dtype.tolist(), strict=True))


@given(CHECKPOINTS, CHECKPOINTS)
def test_same_shapes_means_same_names_in_order_and_same_shapes(
    one: dict[str, TensorInfo], two: dict[str, TensorInfo]
) -> None:
    def listed(tensors: Mapping[str, TensorInfo]) -> list[tuple[str, tuple[int, ...]]]:
        return [(name, info.shape) for name, info in tensors.items()]

    same = TensorTable.of(one).same_shapes(TensorTable.of(two))
    assert same == (listed(one) == listed(two))
    assert TensorTable.of(one).same_shapes(TensorTable.of(dict(one)))


def test_planned_tensors_are_made_from_columns() -> None:
    table = TensorTable.of(
        {"w": TensorInfo("BF16", (2, 3)), "n": TensorInfo("I64", ()), "d": TensorInfo("F64", (0,))}
    )
    planned = PlannedTensors(table, table.dtype, np.array([NUMBERS["F32"], -1, NUMBERS["F64"]]))
    expected = [
        PlannedTensor("w", (2, 3), "BF16", "BF16", "F32"),
        PlannedTensor("n", (), "I64", "I64", None),
        PlannedTensor("d", (0,), "F64", "F64", "F64"),
    ]
    assert list(planned) == [planned[0], *planned[1:]] == expected
    assert planned.merged.tolist() == [0, 2]
    assert [tensor.out_dtype for tensor in planned.written_in("F16")] == ["F16", "I64", "F16"]
    assert [tensor.out_dtype for tensor in planned.written_in_compute()] == ["F32", "I64", "F64"]
    assert [tensor.merged for tensor in PlannedTensors.copied(table)] == [False] * 3
