"""What a user may give: models, a pool of them, memory, threads and a device, checked and opened."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, TypeAlias

from . import native_cuda
from .checkpoint import Checkpoint, open_checkpoint
from .compatibility import unfit_problems
from .engine.stream import Settings
from .errors import (
    DeviceError,
    NegmergeError,
    OptionError,
    PoolError,
    collecting,
    each_problem,
    together,
)
from .in_memory import device_memory
from .in_memory.device_memory import CPU
from .in_memory.same_device import check_devices
from .in_memory.state_dict import StateDictSource, is_module
from .options import Options
from .plan import Plan, make_plan
from .progress import Progress
from .sizes import parse_bytes

if TYPE_CHECKING:
    import torch

    StateDict: TypeAlias = Mapping[str, Any] | torch.nn.Module
    PathName: TypeAlias = str | os.PathLike[str]
    Model: TypeAlias = StateDict | PathName

ModelSource: TypeAlias = Checkpoint | StateDictSource

#: More threads than any machine has cores for; each costs memory and start-up time.
_MOST_THREADS = 1024

#: Types that stand for a path.
PATH_TYPES = (str, os.PathLike)


def open_model(model: Model, label: str) -> ModelSource:
    """The source of a state dict, a module or a path; ``label`` names the former two in errors."""
    if isinstance(model, PATH_TYPES):
        return open_checkpoint(model)
    return StateDictSource(model, label)


def plan_models(
    base: Model,
    finetuned: Sequence[Model],
    options: Options,
    device: int | None = None,
    foresee: Callable[[ModelSource | None], Sequence[NegmergeError]] = lambda base: (),
) -> tuple[ModelSource, Plan[Any]]:
    """Open all models and plan their merge; the base's source comes along.

    device: the one that was asked for, as :func:`parse_device` gives it. Raises the problems of all models
    together, and with them what ``foresee`` says is wrong otherwise, given the base if that could be opened.
    It is asked only if the models have problems.
    """
    problems: list[NegmergeError] = []
    opened: ModelSource | None = None
    try:
        opened = open_model(base, "base")
    except NegmergeError as problem:
        problems += each_problem(problem)
        for model in collecting(open_pool(finetuned), problems):
            # There is nothing to compare it with, but a model may have problems of its own.
            if isinstance(model, StateDictSource):
                unfit = {name: why for name, why in model.unfit.items() if options.selects(name)}
                problems += unfit_problems(model.label, unfit)
    else:
        try:
            plan: Plan[Any] = make_plan(opened, open_pool(finetuned), options)
            check_devices(plan, lambda: labels_of(base, finetuned), device)
            return opened, plan
        except NegmergeError as problem:
            problems += each_problem(problem)
    raise together([*problems, *foresee(opened)])


def open_pool(models: Sequence[Model]) -> Iterable[ModelSource]:
    """The sources of fine-tuned models, opened as they are asked for."""
    # A map goes on after an element that raised, and keeps at most one checkpoint's metadata alive.
    return map(open_model, models, (f"finetuned[{k}]" for k in range(len(models))))


def labels_of(base: Model, models: Sequence[Model]) -> list[str]:
    """How errors and provenance call the base and each fine-tuned model: by path, else by position."""
    positions = ["base", *(f"finetuned[{k}]" for k in range(len(models)))]
    return [
        os.fspath(model) if isinstance(model, PATH_TYPES) else position
        for model, position in zip([base, *models], positions, strict=True)
    ]


def as_pool(finetuned: Sequence[Model]) -> list[Model]:
    """``finetuned`` as a list; :class:`PoolError` unless it is a sequence of at least one model."""
    if isinstance(finetuned, (*PATH_TYPES, Mapping)) or is_module(finetuned):
        raise PoolError(
            "finetuned is one checkpoint, not a sequence of them", remedy="Give a list: finetuned=[model]"
        )
    if isinstance(finetuned, Set):
        raise PoolError(
            "finetuned is a set, and sums of floating-point numbers depend on their order",
            remedy="Give a list",
        )
    if not isinstance(finetuned, Sequence):
        raise PoolError(
            f"finetuned is a {type(finetuned).__qualname__}, not a sequence of checkpoints",
            remedy="Give a list of state dicts, modules or paths",
        )
    if not finetuned:
        raise PoolError("finetuned is empty", remedy="Give at least one fine-tuned checkpoint")
    return list(finetuned)


def parse_settings(
    max_memory: int | str | None, threads: int | None, progress: bool | Progress, device: object = None
) -> Settings:
    """How to run.

    Raises :class:`OptionError` for a budget or a number of threads that makes no sense, :class:`DeviceError`
    for a device that there is not.
    """
    return Settings(
        max_memory=None if max_memory is None else parse_bytes(max_memory),
        threads=parse_threads(threads),
        progress=progress,
        device=parse_device(device),
    )


def parse_threads(threads: int | None) -> int | None:
    """``threads`` if it is ``None`` or an integer from 1 to 1024, else :class:`OptionError`."""
    if threads is None:
        return None
    try:
        number = operator.index(threads)
    except TypeError:
        number = 0
    if not 1 <= number <= _MOST_THREADS or isinstance(threads, bool):
        raise OptionError(f"threads must be an integer from 1 to {_MOST_THREADS}, not {threads!r}")
    return number


def parse_device(device: object) -> int | None:
    """The number of the CUDA device that is asked for, -1 for the CPU, ``None`` for "auto" and ``None``.

    Plain "cuda" is torch's current device. Raises :class:`DeviceError` for a device that there is not.
    """
    text = str(device)
    if device is None or text == "auto":
        return None
    if text in ("cpu", "cpu:0"):
        return CPU
    asked = re.fullmatch(r"cuda(?::(\d+))?", text)
    if asked is None:
        raise DeviceError(f"merges do not run on device {text!r}", remedy="Use auto, cpu, cuda or cuda:k")
    remedy = "Leave device (--device) out: tensors are merged where they lie, files on the CPU"
    try:
        count = len(native_cuda.devices())
    except DeviceError as problem:
        raise DeviceError(f"device {text!r} was asked for: {problem}", remedy=remedy) from problem
    number = device_memory.cuda.current() if asked[1] is None else int(asked[1])
    if number >= count:
        raise DeviceError(f"device {text!r} was asked for, and there are {count} CUDA devices", remedy=remedy)
    return number
