"""Time a step of eight small fine-tunings, one after the other and all at once.

"At once" is torch.func's vectorised gradient over the stacked weights of all models, each with a batch of its
own; "in turn" is what a pool does: autograd, model by model. The models and batches are those of the recipes
digits and cifar10-classifier-random, with BatchNorm in eval mode, as fine-tuning has it. The gradients are
compared before anything is timed.

    python benchmarks/fine_tuning.py --device cpu
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import torch
from harness import options
from harness.samples import median
from harness.timing import interleave, timed
from negmerge.models.resnet18 import ResNet18
from negmerge.models.small_cnn import SmallCNN
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

MEMBERS, CLASSES = 8, 10
#: By name: the network, the shape of an image, and images per step.
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "small_cnn, 16 channels": (
        lambda: SmallCNN(width=16, channels=1, classes=CLASSES, mean=[0.5], std=[0.5]),
        (1, 8, 8),
        32,
    ),
    "resnet18, 8 channels": (lambda: ResNet18(width=8, classes=CLASSES), (3, 32, 32), 128),
}

Gradients = dict[str, torch.Tensor]


class Case:
    """Eight models of one architecture, and a batch for each."""

    def __init__(self, name: str, batch: int, device: torch.device) -> None:
        make, shape, _ = MODELS[name]
        torch.manual_seed(0)
        self._models = [
            make().to(device).to(memory_format=torch.channels_last).eval() for _ in range(MEMBERS)
        ]
        self._images = torch.rand(MEMBERS, batch, *shape, device=device)
        self._labels = torch.randint(CLASSES, (MEMBERS, batch), device=device)
        self._stacked = stack_module_state(self._models)
        self._skeleton = copy.deepcopy(self._models[0]).to("meta")
        self._all_gradients = vmap(grad(self._loss))

    def in_turn(self) -> list[Gradients]:
        """Gradients of every model."""
        found = []
        for model, images, labels in zip(self._models, self._images, self._labels, strict=True):
            answer = model(images.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(answer, labels)
            parameters = dict(model.named_parameters())
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            found.append(dict(zip(parameters, gradients, strict=True)))
        self._wait()
        return found

    def at_once(self) -> Gradients:
        """The same of all models together, stacked."""
        parameters, buffers = self._stacked
        gradients: Gradients = self._all_gradients(parameters, buffers, self._images, self._labels)
        self._wait()
        return gradients

    def _loss(
        self, parameters: Gradients, buffers: Gradients, images: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        answer = functional_call(self._skeleton, (parameters, buffers), (images,))
        return functional.cross_entropy(answer, labels)

    def _wait(self) -> None:
        if self._images.is_cuda:
            torch.cuda.synchronize(self._images.device)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="default: cpu")
    arguments = parser.parse_args()
    results = options.results(arguments, "fine_tuning")
    cores = torch.get_num_threads()
    for name in MODELS:
        batch = 2 if arguments.quick else MODELS[name][2]
        case = Case(name, batch, arguments.device)
        for threads in dict.fromkeys((1, cores) if arguments.device.type == "cpu" else (cores,)):
            torch.set_num_threads(threads)
            expected, found = case.in_turn(), case.at_once()
            for key, gradients in found.items():
                for model, gradient in enumerate(gradients):
                    torch.testing.assert_close(gradient, expected[model][key], rtol=1e-2, atol=1e-4)
            variants = {"in turn": timed(case.in_turn), "at once": timed(case.at_once)}
            seconds = interleave(variants, options.rounds(arguments))
            parameters = {"model": name, "device": arguments.device.type, "threads": threads}
            results.add(parameters, seconds, {"members": MEMBERS, "batch": batch})
            shown = "; ".join(f"{each} {median(seconds, each) * 1e3:.0f} ms" for each in seconds)
            print(f"{name}, {threads} threads: {shown}", file=sys.stderr)
        torch.set_num_threads(cores)


if __name__ == "__main__":
    main()
