from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from negmerge_ext import dtypes
from negmerge_ext.errors import DtypeError

torch = pytest.importorskip("torch")

MERGEABLE = {
    "F64": ("float64", np.float64),
    "F32": ("float32", np.float32),
    "F16": ("float16", np.float16),
    "BF16": ("bfloat16", ml_dtypes.bfloat16),
    "F8_E4M3": ("float8_e4m3fn", ml_dtypes.float8_e4m3fn),
    "F8_E5M2": ("float8_e5m2", ml_dtypes.float8_e5m2),
}


def test_what_can_be_merged() -> None:
    assert set(dtypes.CODES) == set(MERGEABLE)
    assert not dtypes.NOT_FLOATING & set(dtypes.CODES)
    assert set(dtypes.BITS) >= set(dtypes.CODES) | dtypes.NOT_FLOATING


@pytest.mark.parametrize("name", MERGEABLE)
def test_names_of_the_libraries_lead_to_and_fro(name: str) -> None:
    in_torch, in_numpy = MERGEABLE[name]
    assert dtypes.to_torch(name) is getattr(torch, in_torch)
    assert dtypes.from_torch(getattr(torch, in_torch)) == name
    assert dtypes.to_numpy(name) == np.dtype(in_numpy)
    assert dtypes.from_numpy(np.dtype(in_numpy)) == name
    assert dtypes.BITS[name] == 8 * np.dtype(in_numpy).itemsize


@pytest.mark.parametrize("name", sorted(dtypes.NOT_FLOATING))
def test_integers_lead_to_and_fro(name: str) -> None:
    assert dtypes.from_torch(dtypes.to_torch(name)) == name
    assert dtypes.from_numpy(dtypes.to_numpy(name)) == name
    assert dtypes.BITS[name] == 8 * dtypes.to_numpy(name).itemsize


def test_dtypes_without_a_safetensors_name_keep_their_own() -> None:
    assert dtypes.from_torch(torch.quint8) == "quint8"
    assert dtypes.from_numpy(np.dtype(np.longdouble)) == np.dtype(np.longdouble).name
    assert dtypes.from_numpy(np.dtype("U3")) not in dtypes.CODES


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.bfloat16, "BF16"),
        (torch.float8_e5m2, "F8_E5M2"),
        (np.float16, "F16"),
        (np.dtype(np.float64), "F64"),
        (ml_dtypes.bfloat16, "BF16"),
        (float, "F64"),
        ("float32", "F32"),
        ("torch.float16", "F16"),
        ("bf16", "BF16"),
        ("BF16", "BF16"),
        ("fp32", "F32"),
        ("half", "F16"),
        ("double", "F64"),
        ("f8_e4m3", "F8_E4M3"),
        ("float8_e4m3fn", "F8_E4M3"),
        ("e5m2", "F8_E5M2"),
    ],
)
def test_parse_takes_what_users_write(value: object, name: str) -> None:
    assert dtypes.parse(value) == name


@pytest.mark.parametrize(
    "value",
    ["int8", "I64", "float8_e4m3fnuz", "nonsense", "", torch.int64, torch.complex64, np.int32, 7, object()],
)
def test_parse_refuses_what_cannot_be_written(value: object) -> None:
    with pytest.raises(DtypeError, match="float8_e5m2"):
        dtypes.parse(value)


def test_names_that_a_library_lacks() -> None:
    with pytest.raises(DtypeError, match="F4"):
        dtypes.to_torch("F4")
    with pytest.raises(DtypeError, match="F6_E2M3"):
        dtypes.to_numpy("F6_E2M3")


@pytest.mark.parametrize(
    ("name", "numel", "expected"),
    [("F64", 3, 24), ("BF16", 5, 10), ("F8_E5M2", 7, 7), ("F32", 0, 0), ("F6_E2M3", 4, 3), ("F4", 3, 2)],
)
def test_nbytes(name: str, numel: int, expected: int) -> None:
    assert dtypes.nbytes(name, numel) == expected
