from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from negmerge import frozen_front
from negmerge.compute import CPU
from negmerge.data.examples import Examples, Part
from negmerge.data.image_set import ImageSet
from negmerge.evaluate import Evaluation
from negmerge.freezing import frozen_parameters
from negmerge.frozen_front import FrozenFront
from negmerge.models import MODELS
from negmerge.models.linearised import Linearised
from negmerge.recipe_file import embedded_recipe
from torch import nn

#: Calls of two frozen layers that it takes to see whether a model is a chain.
LOOK = 2
FROZEN = {"0.weight", "0.bias", "2.0.weight", "2.0.bias"}


class Counted(nn.Linear):
    """Counts how often it is called."""

    calls = 0

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        Counted.calls += 1
        return super().forward(numbers)


def chain() -> nn.Sequential:
    """Two frozen layers, of which the second is in the block that the first trained one is in."""
    torch.manual_seed(0)
    return nn.Sequential(
        Counted(4, 5), nn.Tanh(), nn.Sequential(Counted(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    )


class Around(nn.Sequential):
    """No chain: what goes into the frozen layers also goes around them."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return super().forward(numbers) + numbers[:, :3]


class AroundLater(nn.Module):
    """A chain only until the weight of the way around is trained, which begins as zero."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.tail, self.gate = Counted(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.tail(self.front(numbers)) + self.gate(numbers)


class Twice(nn.Module):
    """No chain: the front is called again behind the first trained layer."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.tail = Counted(4, 4), nn.Linear(4, 4)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.front(self.tail(self.front(numbers)))


class Listed(Twice):
    """Hands its first trained layer more than a tensor."""

    class Tail(nn.Linear):
        def forward(self, numbers: list[torch.Tensor]) -> torch.Tensor:
            return super().forward(numbers[0])

    def __init__(self) -> None:
        super().__init__()
        self.tail = Listed.Tail(4, 4)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.tail([self.front(numbers)])


def tuned(model: nn.Module, seed: int, name: str = "2.2.weight") -> nn.Module:
    found = copy.deepcopy(model)
    with torch.no_grad():
        found.get_parameter(name).add_(torch.randn(1, generator=torch.Generator().manual_seed(seed)))
    return found


def numbers(seed: int) -> torch.Tensor:
    return torch.randn(7, 4, generator=torch.Generator().manual_seed(seed))


def asked(front: FrozenFront, model: nn.Module, seed: int) -> torch.Tensor:
    with torch.inference_mode():
        return front.through(model)(seed, lambda: numbers(seed))


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    Counted.calls = 0


def calls(of: Callable[[], object]) -> int:
    before = Counted.calls
    of()
    return Counted.calls - before


def test_frozen_layers_see_every_batch_once():
    model, front = chain(), FrozenFront(FROZEN)
    expected = {(tune, batch): tuned(model, tune)(numbers(batch)) for tune in range(4) for batch in range(3)}
    Counted.calls = 0
    found = {(tune, batch): asked(front, tuned(model, tune), batch) for tune, batch in expected}
    assert all(torch.equal(found[which], expected[which]) for which in expected)
    assert Counted.calls == 2 * 3 + LOOK
    assert all(type(one) is Counted for one in (model[0], model[2][0]))


def test_a_model_with_another_front_is_asked_as_a_whole():
    model, front = chain(), FrozenFront(FROZEN)
    asked(front, model, 0)
    for name in ("0.weight", "2.0.bias"):
        other = tuned(model, 1, name)
        assert torch.equal(asked(front, other, 0), other(numbers(0)))
        assert calls(lambda other=other: asked(front, other, 0)) == 2
    assert calls(lambda: asked(front, model, 0)) == 0


def test_what_is_no_chain_is_asked_as_a_whole():
    layers, front = chain(), FrozenFront(FROZEN)
    asked(front, layers, 0)
    model = Around(*layers)
    for batch in (0, 0, 1, 1):
        assert torch.equal(asked(front, model, batch), model(numbers(batch)))
    assert calls(lambda: asked(front, model, 0)) == 2
    assert calls(lambda: asked(front, layers, 0)) == 0


@pytest.mark.parametrize("kind", [AroundLater, Twice, Listed])
def test_what_only_looks_like_a_chain_is_asked_as_a_whole(kind: type[nn.Module]):
    torch.manual_seed(0)
    front, base = FrozenFront({"front.weight", "front.bias"}), kind()
    for seed in range(3):
        model = copy.deepcopy(base)
        with torch.no_grad():
            for name, one in model.named_parameters():
                if not name.startswith("front"):
                    one.add_(seed)
        assert torch.equal(asked(front, model, 0), model(numbers(0)))
    assert calls(lambda: asked(front, base, 0)) == calls(lambda: base(numbers(0)))


def test_what_is_asked_first_need_not_be_what_is_expected():
    model, front = chain(), FrozenFront(FROZEN)
    front.expect(model)
    other = tuned(model, 1, "0.weight")
    for one in (other, model, other):
        assert torch.equal(asked(front, one, 0), one(numbers(0)))
    assert calls(lambda: asked(front, model, 0)) == 0


@pytest.mark.parametrize("frozen", [set(), {"2.2.weight"}, {"0.weight"}], ids=["none", "last", "half"])
def test_without_a_frozen_front_nothing_is_kept(frozen: set[str]):
    model, front = chain(), FrozenFront(frozen)
    for _ in range(2):
        assert torch.equal(asked(front, model, 0), model(numbers(0)))
    assert calls(lambda: asked(front, model, 0)) == 2


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch):
    one = 7 * 6 * 4
    monkeypatch.setattr(frozen_front, "_ROOM", 2 * one + one // 2)
    model, front = chain(), FrozenFront(FROZEN)
    for batch in range(3):
        asked(front, model, batch)
    assert [calls(lambda batch=batch: asked(front, model, batch)) for batch in range(3)] == [0, 0, 2]


class Pixels(nn.Module):
    """The images' pixels as a row each."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_an_evaluation_tells_sets_and_rows_apart():
    """Sets of one size, and other rows of a set, have front passes of their own."""
    torch.manual_seed(1)

    def images(name: str) -> ImageSet:
        return ImageSet(
            name,
            torch.randint(0, 256, (6, 1, 2, 2)).byte().numpy(),
            (torch.arange(6) % 3).numpy(),
            ("a", "b", "c"),
        )

    forget, retain = images("forget"), images("retain")
    rows = [torch.arange(0, 3).numpy(), torch.arange(3, 6).numpy()]
    parts = {
        split: Part(Examples("forget", forget, these), (Examples("retain", retain, these),))
        for split, these in zip(("validation", "test"), rows, strict=True)
    }
    front = nn.Sequential(Pixels(), Counted(4, 8))
    evaluation = Evaluation(parts, CPU, {"0.1.weight", "0.1.bias"})
    for seed in range(6):
        torch.manual_seed(seed)
        model = nn.Sequential(front, nn.Linear(8, 3))
        for split in ("validation", "test"):
            assert evaluation.scores(model, split) == Evaluation(parts, CPU).scores(model, split)
    assert calls(lambda: evaluation.scores(model, "test")) == 0


def test_what_the_small_clips_freeze_is_a_front():
    """Up to the last two of seven stages: their models' first layers see an image once."""
    recipe, _ = embedded_recipe("mnist-clip-small")
    spec = recipe.model.model_copy(update={"pretrained": None})
    torch.manual_seed(0)
    tower = MODELS.get(spec.name)(spec, with_weights=False).image_tower().eval()
    front = FrozenFront(frozen_parameters(tower, recipe.pool.freeze))
    seen: list[nn.Module] = []
    trunk = tower.visual.trunk
    for layer in (trunk.conv_stem, trunk.blocks[4], trunk.blocks[5]):
        layer.register_forward_hook(lambda layer, *_: seen.append(layer))
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        answers = [front.through(tower)("digits", lambda: images) for _ in range(3)]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert [seen.count(layer) for layer in (trunk.conv_stem, trunk.blocks[4])] == [1, 1]
    assert seen.count(trunk.blocks[5]) == 3


def test_expansions_go_on_from_what_the_front_made_too():
    model, front = chain(), FrozenFront(FROZEN)
    linearised = Linearised(model)
    with torch.no_grad():
        linearised.get_parameter("2.2.weight").add_(0.1)
    expected = [linearised(numbers(batch)) for batch in range(2)]
    for _ in range(2):
        assert all(torch.equal(asked(front, linearised, batch), expected[batch]) for batch in range(2))
    assert calls(lambda: [asked(front, linearised, batch) for batch in range(2)]) == 0
