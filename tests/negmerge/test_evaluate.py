from __future__ import annotations

import numpy as np
import torch
from negmerge.compute import CPU
from negmerge.data.examples import Examples, Part
from negmerge.data.image_set import ImageSet
from negmerge.data.selection import ForgetRetain, select
from negmerge.data.splits import Splits
from negmerge.evaluate import Evaluation, Scores, predict
from negmerge.recipe import Forget


class FirstPixel(torch.nn.Module):
    """Votes for the class whose number the first pixel holds, and is wrong while training."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        votes = (images[:, 0, 0, 0] * 255).round().long() + int(self.training)
        return torch.nn.functional.one_hot(votes, 4).float()


def images_saying(votes: list[int], labels: list[int]) -> ImageSet:
    pixels = np.array(votes, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ImageSet("votes", pixels, np.array(labels, dtype=np.int64), ("a", "b", "c"))


def evaluation_of(forget: Forget, images: ImageSet, splits: Splits) -> Evaluation:
    chosen = select(forget, images, splits, seed=0)

    def part(rows: ForgetRetain) -> Part:
        return Part(Examples("votes", images, rows.forget), (Examples("votes", images, rows.retain),))

    parts = {name: part(getattr(chosen, name)) for name in ("train", "validation", "test")}
    return Evaluation(parts, CPU)


def test_accuracies_are_of_the_right_images():
    train, validation, test = np.split(np.arange(12), [3, 7])
    splits = Splits(train, validation, test)
    labels, votes = np.zeros(12, dtype=int), np.zeros(12, dtype=int)
    labels[train], votes[train] = [0, 1, 2], [1, 1, 1]
    labels[validation], votes[validation] = [0, 0, 1, 2], [0, 1, 1, 2]
    labels[test], votes[test] = [0, 0, 0, 1, 2], [0, 1, 1, 1, 0]
    images = images_saying(votes.tolist(), labels.tolist())
    evaluation = evaluation_of(Forget(classes=["a"]), images, splits)
    assert evaluation.scores(FirstPixel().train(), "validation") == Scores(1 / 2, 2 / 2)
    assert evaluation.scores(FirstPixel(), "test") == Scores(1 / 3, 1 / 2)


def test_predictions_do_not_depend_on_how_many_images_are_given_at_once():
    images = torch.randint(0, 3, (2500, 1, 2, 2), dtype=torch.uint8)
    logits = predict(FirstPixel(), images)
    assert torch.equal(logits.argmax(dim=1), images[:, 0, 0, 0].long())
    assert not logits.requires_grad


def test_measures_of_classes_and_of_single_images_look_at_the_right_images():
    train, validation, test = np.split(np.arange(14), [6, 10])
    splits = Splits(train, validation, test)
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 0, 1, 2, 0, 0, 1, 2])
    votes = np.array([0, 1, 1, 1, 2, 0, 0, 1, 1, 2, 1, 1, 1, 0])
    images = images_saying(votes.tolist(), labels.tolist())

    by_class = evaluation_of(Forget(classes=["a"]), images, splits)
    scores, measures = by_class.measuring(FirstPixel(), "validation", attack=True)()
    assert scores == by_class.scores(FirstPixel(), "validation") == Scores(1 / 2, 2 / 2)
    # The first and the third of the four training images, as many as there are held-out ones.
    assert (measures.forget, measures.retain, measures.held_out) == (1 / 2, 2 / 2, 2 / 2)
    scores, measures = by_class.measuring(FirstPixel(), "test", attack=True)()
    assert (scores, measures.forget, measures.held_out) == (Scores(0 / 2, 1 / 2), 1 / 2, 1 / 2)

    by_image = evaluation_of(Forget(indices=[1, 5]), images, splits)
    scores, measures = by_image.measuring(FirstPixel(), "test", attack=True)()
    assert scores == by_image.scores(FirstPixel(), "test") == Scores(0 / 2, 1 / 4)
    assert (measures.forget, measures.retain, measures.held_out) == (0 / 2, 4 / 4, 1 / 4)


def test_measures_are_taken_only_if_they_are_asked_for():
    images = images_saying([0, 1, 2] * 4, [0, 1, 2] * 4)
    splits = Splits(np.arange(6), np.arange(6, 9), np.arange(9, 12))
    evaluation = evaluation_of(Forget(classes=["a"]), images, splits)
    assert evaluation.evaluated(FirstPixel(), measures=False)["test_measures"] is None
    found = evaluation.evaluated(FirstPixel(), measures=True)
    assert found["validation_measures"].forget == found["test_measures"].forget == 1.0
    for split in ("validation", "test"):
        scores, measures = evaluation.measuring(FirstPixel(), split, attack=True)()
        assert (found[split], found[f"{split}_measures"]) == (scores, measures)


class Offset(torch.nn.Module):
    """A head that takes every vote one class further."""

    def forward(self, votes: torch.Tensor) -> torch.Tensor:
        return votes.roll(1, dims=1)


def test_several_retained_sets_count_alike_and_each_has_its_own_head():
    def examples(label: str, votes: list[int], head: torch.nn.Module) -> Examples:
        images = images_saying(votes, [0, 1, 2, 0][: len(votes)])
        return Examples(label, images, np.arange(len(votes)), head)

    nothing, offset = torch.nn.Identity(), Offset()
    part = Part(
        examples("forgotten", [0, 1, 2], nothing),
        (examples("plain", [0, 0, 2], nothing), examples("shifted", [3, 0, 1, 1], offset)),
    )
    scores = Evaluation({"test": part}, CPU).scores(FirstPixel(), "test")
    assert scores.forget == 1.0
    assert scores.by_set == {"plain": 2 / 3, "shifted": 3 / 4}
    assert scores.retain == (2 / 3 + 3 / 4) / 2
