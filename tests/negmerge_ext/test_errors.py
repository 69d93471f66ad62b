from __future__ import annotations

import pickle

import pytest

from negmerge_ext import errors
from negmerge_ext.errors import (
    DiskSpaceError,
    InputError,
    MissingTensorError,
    NegmergeError,
    OutputExistsError,
    PreflightError,
    ShapeMismatchError,
    raise_problems,
    shortened,
    together,
)

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NegmergeError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_names_file_tensor_and_remedy(kind: type[NegmergeError]) -> None:
    error = kind("has shape [2]", path="a/b.safetensors", tensor="head.weight", remedy="Exclude it")
    for part in ("a/b.safetensors", "'head.weight'", "has shape [2]", "Exclude it"):
        assert part in str(error)
    assert (error.path, error.tensor, error.remedy) == ("a/b.safetensors", "head.weight", "Exclude it")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_survive_the_way_between_processes(kind: type[NegmergeError]) -> None:
    error = kind("is gone", path="x.pt", tensor="w")
    error.problems = (NegmergeError("one"),)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.path, copy.tensor, copy.remedy) == ("x.pt", "w", None)
    assert [str(problem) for problem in copy.problems] == ["one"]


def test_errors_can_be_caught_as_the_builtin_kind() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(OutputExistsError, FileExistsError)
    assert issubclass(DiskSpaceError, OSError)
    assert issubclass(errors.NativeModuleError, ImportError)


def test_no_problem_raises_nothing() -> None:
    raise_problems([])


def test_one_problem_is_raised_as_it_is() -> None:
    problem = ShapeMismatchError("differs", tensor="w")
    with pytest.raises(ShapeMismatchError) as caught:
        raise_problems([problem])
    assert caught.value is problem


def test_problems_of_one_kind_are_raised_as_that_kind_listing_all() -> None:
    problems = [MissingTensorError("is not here", path=f"{k}.pt", tensor=f"w{k}") for k in range(3)]
    with pytest.raises(MissingTensorError) as caught:
        raise_problems(problems)
    assert caught.value.problems == tuple(problems)
    for problem in problems:
        assert str(problem) in str(caught.value)


def test_what_stands_for_several_problems_counts_as_several() -> None:
    many = [MissingTensorError("is not here", tensor=f"w{k}") for k in range(300)]
    found = together([*shortened(many, "a.pt"), *shortened(many[:5], "b.pt")])
    assert str(found).startswith("305 problems found")
    assert len(found.problems) < 30


def test_problems_of_several_kinds_are_raised_together() -> None:
    problems = [MissingTensorError("is not here", tensor="a"), ShapeMismatchError("differs", tensor="b")]
    with pytest.raises(PreflightError) as caught:
        raise_problems(problems)
    assert caught.value.problems == tuple(problems)
    assert isinstance(caught.value, ValueError)
    for problem in problems:
        assert str(problem) in str(caught.value)
