"""The pool: the base fine-tuned on the forget set, once per combination of hyper-parameters."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from .checkpoint import load_weights, save_weights
from .console import Reporter
from .keys import content_key, derived_seed
from .methods.interface import Checkpoint
from .recipe import Pool, Training
from .results import Member
from .run_folder import RunFolder
from .task import Task
from .train import train


def finetune_pool(
    task: Task, base: Checkpoint, folder: RunFolder, reporter: Reporter
) -> tuple[list[Checkpoint], list[Member]]:
    """Fine-tune what is not there yet; return the checkpoints and what is known about them, in grid order."""
    spec = task.recipe.pool
    members = spec.members()
    shared = content_key(base.key, task.forget_key, spec.freeze, spec.freeze_statistics, task.numerics_key)
    keys = [content_key("member", shared, one) for one in members]
    known = {
        number: Member.from_dict(facts)
        for number, key in enumerate(keys)
        if (facts := folder.member(number).finished(key)) is not None
    }
    if missing := len(members) - len(known):
        with reporter.stage(
            f"Fine-tuning {missing} of {len(members)} checkpoints on the forget set", missing
        ) as stage:
            for number, (member, key) in enumerate(zip(members, keys, strict=True)):
                if number not in known:
                    artefact = folder.member(number)
                    artefact.begin()
                    known[number] = _finetune(task, base, member, artefact.file)
                    artefact.finish(key, asdict(known[number]))
                    stage.advance()
                    stage.line(f"{number + 1}/{len(members)}: {_varied(spec, member)}")
    if missing < len(members):
        reporter.note(
            f"{len(members) - missing} fine-tuned checkpoints: taken from {folder.member(0).file.parent}"
        )
    folder.remove_members_from(len(members))
    checkpoints = [
        Checkpoint(folder.member(number).file, key, known[number].seconds) for number, key in enumerate(keys)
    ]
    return checkpoints, [known[number] for number in range(len(members))]


def _finetune(task: Task, base: Checkpoint, member: Training, path: Path) -> Member:
    # The seed derives from the hyper-parameters: a larger grid does not change the members it had before, nor
    # does one that a later version may have and this recipe leaves out.
    seed = derived_seed("member", task.recipe.seed, member.model_dump(mode="json", exclude_defaults=True))
    model = load_weights(task.build_model(), base.path)
    start = time.perf_counter()
    loss = train(
        model,
        task.training_examples("forget"),
        member,
        seed=seed,
        compute=task.compute,
        freeze=task.recipe.pool.freeze,
        freeze_statistics=task.recipe.pool.freeze_statistics,
    )
    seconds = time.perf_counter() - start
    save_weights(model, path)
    return Member(
        file=f"{path.parent.name}/{path.name}",
        hyperparameters=member.model_dump(),
        validation=task.evaluation.scores(model, "validation"),
        loss=loss,
        seconds=seconds,
    )


def _varied(spec: Pool, member: Training) -> str:
    """The hyper-parameters in which the members of the pool differ."""
    varied = [name for name, values in spec.axes.items() if len(values) > 1]
    return ", ".join(f"{name} {getattr(member, name)}" for name in varied) or "the only one"
