"""Steps in several parts, against the same steps at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from negmerge.accumulation import divided
from negmerge.compute import Compute
from negmerge.console import Reporter
from negmerge.data.examples import Examples
from negmerge.data.prompts import prompts
from negmerge.data.training_batches import Batch
from negmerge.models import MODELS
from negmerge.models.clip import contrastive
from negmerge.models.clip.contrastive import PromptsContrastive
from negmerge.models.small_cnn import SmallCNN
from negmerge.pipeline import finetune
from negmerge.recipe import Model, Training
from negmerge.recipe_file import parse_recipe
from negmerge.train import train
from tiny_clip import save_tiny_clip
from toy_sets import bright_parts

GREY = bright_parts("mnist", channels=1, side=8, seed=0)
COLOUR = bright_parts("cifar10", channels=3, side=8, seed=1)


def examples(*sets: object) -> list[Examples]:
    return [Examples(one.name, one, np.arange(len(one.labels))) for one in sets]


def batch(source: int, first: int, count: int) -> Batch:
    images = torch.arange(first, first + count, dtype=torch.float32).view(-1, 1, 1, 1)
    return Batch(source, images, torch.arange(first, first + count))


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [(1, [[5, 2]]), (2, [[4], [1, 2]]), (3, [[3], [2, 1], [1]]), (7, [[1]] * 7), (9, [[1]] * 7)],
)
def test_parts_have_all_images_in_their_order(parts, sizes):
    found = divided([batch(0, 0, 5), batch(1, 5, 2)], parts)
    assert [[len(one.labels) for one in part] for part in found] == sizes
    assert [int(label) for part in found for one in part for label in one.labels] == list(range(7))
    assert all(torch.equal(one.images.flatten(), one.labels.float()) for part in found for one in part)
    assert {one.source for part in found for one in part for label in one.labels if label >= 5} == {1}


def trained(accumulation: int, **changes: object) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = SmallCNN(width=4, channels=1, classes=4, mean=[0.4], std=[0.3])
    spec = Training(
        **{
            "epochs": 2,
            "learning_rate": 0.003,
            "batch_size": 36,  # 96 images: the last step has fewer
            "accumulation": accumulation,
            "label_smoothing": 0.1,
            "augmentation": 1.0,
            "optimizer": "sgd",
        }
        | changes
    )
    return train(model, examples(GREY), spec, seed=1), model.state_dict()


@pytest.mark.parametrize("accumulation", [2, 5, 36])
def test_is_the_whole_batch_up_to_rounding(accumulation):
    (loss, weights), (whole_loss, whole) = trained(accumulation), trained(1)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    for name in whole:
        torch.testing.assert_close(weights[name], whole[name], rtol=1e-4, atol=1e-6)
    _, other = trained(1, batch_size=36 // accumulation)
    assert any(not torch.allclose(other[name], whole[name], rtol=1e-3, atol=1e-5) for name in whole)


def test_prompts_are_drawn_once_per_step(tmp_path: Path):
    folder = save_tiny_clip(tmp_path / "clip")
    texts = [prompts(one.name, one.class_names) for one in (GREY, COLOUR)]

    def learnt(accumulation: int) -> dict[str, torch.Tensor]:
        spec = Model(name=f"open_clip/local-dir:{folder}")
        clip = MODELS.get(spec.name)(spec, with_weights=True)
        training = Training(
            epochs=1, learning_rate=0.01, batch_size=48, accumulation=accumulation, optimizer="sgd"
        )
        objective = PromptsContrastive(clip, texts, torch.device("cpu"))
        train(clip.model, examples(GREY, COLOUR), training, seed=1, objective=objective)
        return clip.model.state_dict()

    parts, whole, start = learnt(3), learnt(1), load_start(folder)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-5)
    assert any(not torch.allclose(whole[name], start[name], rtol=1e-3, atol=1e-5) for name in whole)


def test_logits_of_prompts_are_not_rounded_by_autocast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = Model(name=f"open_clip/local-dir:{save_tiny_clip(tmp_path / 'clip')}")
    clip = MODELS.get(spec.name)(spec, with_weights=True)
    objective = PromptsContrastive(clip, [prompts(GREY.name, GREY.class_names)], torch.device("cpu"))
    seen = []

    def loss_of(logits: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        seen.append(logits)
        return logits.sum()

    monkeypatch.setattr(contrastive.functional, "cross_entropy", loss_of)
    compute = Compute(torch.device("cpu"), torch.bfloat16)
    training = Training(epochs=1, learning_rate=0.01, batch_size=48)
    train(clip.model, examples(GREY), training, seed=1, objective=objective, compute=compute)
    assert seen
    for logits in seen:
        assert logits.dtype == torch.float32
        assert not torch.equal(logits, logits.bfloat16().float())


def load_start(folder: Path) -> dict[str, torch.Tensor]:
    spec = Model(name=f"open_clip/local-dir:{folder}")
    state: dict[str, torch.Tensor] = MODELS.get(spec.name)(spec, with_weights=True).model.state_dict()
    return state


def test_a_pool_has_the_same_random_numbers_in_parts(small_text, tmp_path):
    losses = []
    for number, text in enumerate((small_text, small_text.replace("32", "32\n  accumulation: 4"))):
        recipe = parse_recipe(text, "recipe")
        _, members = finetune(recipe, text, tmp_path / str(number), Reporter(quiet=True))
        losses.append([member.loss for member in members])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
