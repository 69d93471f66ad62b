from __future__ import annotations

import json
import math

import numpy as np
import pytest

from negmerge_ext.stats import NATIVE_STATS, MergeReport, TensorStats, tensor_stats


def stats(name: str, elements: int, kept: int, norm: float = 0.0, max_abs: float = 0.0) -> TensorStats:
    return TensorStats(name=name, elements=elements, kept=kept, norm=norm, max_abs=max_abs, non_finite=0)


def report(*merged: TensorStats, model_elements: int) -> MergeReport:
    return MergeReport(
        method="negmerge",
        scale=0.5,
        mode="negate",
        models=3,
        merged=merged,
        copied=("steps",),
        model_elements=model_elements,
    )


def test_totals_of_a_report() -> None:
    whole = report(stats("a", 10, 4, 3.0, 2.0), stats("b", 30, 6, 4.0, 1.0), model_elements=50)
    assert (whole.elements, whole.kept) == (40, 10)
    assert whole.kept_of_merged == 10 / 40
    assert whole.kept_of_model == 10 / 50
    assert whole.norm == 5.0
    assert whole.max_abs == 2.0


def test_fractions_of_nothing_are_zero() -> None:
    assert stats("empty", 0, 0).kept_fraction == 0.0
    assert report(model_elements=0).kept_of_merged == 0.0
    assert report(model_elements=0).kept_of_model == 0.0
    assert report(model_elements=0).max_abs == 0.0


def test_rows_of_the_kernel_become_statistics() -> None:
    rows = np.array([(4, 1, 9.0, 2.5), (0, 0, 0.0, 0.0)], NATIVE_STATS)
    histogram = np.array([[1, 2, 3], [0, 0, 0]], np.int64)
    found = tensor_stats(["a", "b"], [6, 0], rows, histogram)
    assert found[0] == TensorStats("a", 6, 4, norm=3.0, max_abs=2.5, non_finite=1, agreement=(1, 2, 3))
    assert found[0].kept_fraction == 4 / 6
    assert found[1].agreement == (0, 0, 0)
    assert tensor_stats(["a"], [6], rows[:1])[0].agreement is None


def test_rows_must_match_the_names() -> None:
    with pytest.raises(ValueError, match="zip"):
        tensor_stats(["a", "b"], [6, 0], np.zeros(1, NATIVE_STATS))


def test_json_is_valid_even_for_infinite_norms() -> None:
    whole = report(stats("a", 2, 2, math.inf, math.inf), stats("b", 2, 1, math.nan, 1.0), model_elements=4)
    text = whole.to_json()
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert plain["tensors"][0]["norm"] is None
    assert plain["tensors"][1]["kept_fraction"] == 0.5
    assert plain["totals"]["kept"] == 3
    assert plain["totals"]["kept_fraction_of_model_elements"] == 0.75
    assert plain["copied"] == ["steps"]
    assert plain["models"] == 3
