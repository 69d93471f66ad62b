from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import picture
from negmerge.data import training_batches
from negmerge.data.examples import Examples
from negmerge.data.image_files import ImageFiles
from negmerge.data.image_set import ImageSet
from negmerge.data.training_batches import TrainingBatches
from negmerge.errors import CorruptImageError
from negmerge.schedule import steps_per_epoch

CPU = torch.device("cpu")


def numbered(count: int, first: int, *, side: int = 1, every: int = 1) -> Examples:
    """Images that hold their own number, of which every ``every``-th is an example."""
    numbers = np.arange(first, first + count, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (count, 1, side, side)).copy()
    return Examples(
        f"from {first}", ImageSet("numbers", images, numbers % 2, ("even", "odd")), np.arange(0, count, every)
    )


def seen(examples: list[Examples], size: int, seed: int = 0) -> list[list[tuple[int, list[int]]]]:
    """Per step: source, and the numbers of its images."""
    epoch = TrainingBatches(examples, CPU).epoch(size, torch.Generator().manual_seed(seed))
    steps = []
    for step in epoch:
        for batch in step:
            assert torch.equal(batch.images[:, 0, 0, 0].long() % 2, batch.labels)
        steps.append([(batch.source, batch.images[:, 0, 0, 0].tolist()) for batch in step])
    return steps


def test_every_image_is_seen_once_in_an_order_of_the_seed():
    examples = [numbered(11, 0, every=2), numbered(5, 100, side=2)]
    steps = seen(examples, 4)
    counts = [sum(len(numbers) for _, numbers in step) for step in steps]
    assert counts == [4, 4, 3]
    from_source = {source: [] for source in (0, 1)}
    for step in steps:
        for source, numbers in step:
            from_source[source] += numbers
    assert sorted(from_source[0]) == [0, 2, 4, 6, 8, 10]
    assert sorted(from_source[1]) == [100, 101, 102, 103, 104]
    assert seen(examples, 4) == steps
    assert seen(examples, 4, seed=1) != steps


def test_a_single_image_that_is_left_joins_the_batch_before_it():
    for count, expected in ((9, [4, 5]), (10, [4, 4, 2]), (5, [5]), (3, [3]), (8, [4, 4])):
        steps = seen([numbered(count, 0)], 4)
        assert [len(numbers) for step in steps for _, numbers in step] == expected
        assert steps_per_epoch(count, 4) == len(expected)
        assert sorted(number for step in steps for _, numbers in step for number in numbers) == [
            *range(count)
        ]
    assert len(seen([numbered(3, 0)], 1)) == steps_per_epoch(3, 1) == 3


def test_what_is_read_batch_by_batch_is_the_same(monkeypatch):
    examples = [numbered(11, 0, every=2), numbered(5, 100, side=2)]
    resident = seen(examples, 4)
    monkeypatch.setattr(training_batches, "_RESIDENT", 0)
    assert seen(examples, 4) == resident


def test_images_in_files_are_read_as_they_are_needed(tmp_path, monkeypatch):
    paths = [picture(tmp_path / f"{number}.png", number) for number in range(6)]
    files = ImageFiles(paths, tmp_path, 4)
    read: list[int] = []
    original = ImageFiles._pixels
    monkeypatch.setattr(ImageFiles, "_pixels", lambda self, row: read.append(row) or original(self, row))
    examples = Examples("files", ImageSet("files", files, np.arange(6) % 2, ("a", "b")), np.arange(6))
    epoch = TrainingBatches([examples], CPU).epoch(2, torch.Generator().manual_seed(0))
    next(epoch)
    assert len(read) <= 4, "one batch, and the next"
    list(epoch)
    assert sorted(read) == list(range(6))


def test_a_corrupt_image_is_named(tmp_path: Path):
    paths = [picture(tmp_path / f"{number}.png", number) for number in range(3)]
    paths[1].write_bytes(b"not an image")
    files = ImageFiles(paths, tmp_path, 4)
    examples = Examples("files", ImageSet("files", files, np.array([0, 1, 0]), ("a", "b")), np.arange(3))
    with pytest.raises(CorruptImageError, match=r"1\.png: cannot be decoded"):
        list(TrainingBatches([examples], CPU).epoch(2, torch.Generator()))
