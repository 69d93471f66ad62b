from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from negmerge.recipe import Recipe
from negmerge.recipe_file import parse_recipe

#: A run of a second or two: few epochs, a narrow model, a coarse search.
SMALL = """
name: small
data: {name: digits}
forget: {classes: [3]}
model: {name: small_cnn, width: 4}
training: {epochs: 6, learning_rate: 0.01, label_smoothing: 0.1}
pool:
  epochs: 3
  learning_rate: [0.001, 0.003, 0.01]
  batch_size: 32
  freeze: ["head.*"]
search: {points: 6, refinements: 1, limit: 4}
methods: [retrain, single, uniform, negmerge]
"""


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Models this small only lose by more threads, most of all when tests run side by side."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_text() -> str:
    return SMALL


@pytest.fixture
def small() -> Recipe:
    return parse_recipe(SMALL, "small.yaml")
