"""The public names of the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import negmerge_ext


def test_every_public_name_is_there() -> None:
    for name in negmerge_ext.__all__:
        assert getattr(negmerge_ext, name) is not None
        assert name in dir(negmerge_ext)
    with pytest.raises(AttributeError, match="no attribute 'mergge'"):
        _ = negmerge_ext.mergge


def test_functions_are_not_hidden_by_the_modules_of_their_name() -> None:
    import negmerge_ext.info
    import negmerge_ext.methods

    assert set(negmerge_ext.methods()) >= {"negmerge", "uniform"}
    assert set(negmerge_ext.info()) == {"instruction_sets", "threads", "cuda", "versions"}


def test_version_is_that_of_the_distribution() -> None:
    project = Path(negmerge_ext.__file__).parents[1] / "pyproject.toml"
    if not project.exists():
        pytest.skip("the package is installed without its project file")
    declared = re.search(r'^version = "(.*)"$', project.read_text(), re.MULTILINE)
    assert declared is not None
    assert declared[1] == negmerge_ext.__version__
