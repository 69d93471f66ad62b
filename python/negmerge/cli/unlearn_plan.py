"""``negmerge unlearn --dry-run``: what a run would do, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import text

if TYPE_CHECKING:
    from ..run_plan import PlannedData, PlannedTraining, RunPlan


def describe(plan: RunPlan) -> str:
    """The plan for people."""
    rows = [("forgets", plan.forgotten)]
    rows += [("data", _data(one)) for one in plan.data]
    rows += [("model", plan.model if plan.pretrained is None else f"{plan.model}, {plan.pretrained}")]
    rows += [("base", "the pretrained weights" if plan.base is None else _training(plan.base, "training"))]
    rows += [("pool", _training(plan.pool, "fine-tuning") + (", merged online" if plan.online else ""))]
    rows += [(method, _training(own, "training")) for method, own in plan.own_trainings.items()]
    least = f"of at least {text.count(plan.points, 'coefficient')} each" if plan.searches else ""
    rows += [
        ("methods", ", ".join(plan.methods)),
        ("searches", f"{plan.searches:,} {least}".strip()),
        ("device", f"{plan.device}, precision {plan.precision}, {text.count(plan.threads, 'CPU thread')}"),
        ("folder", plan.folder),
    ]
    width = max(len(key) for key, _ in rows)
    return "\n".join(
        [f"{plan.name}: nothing is trained or written", *(f"{key:{width}}  {is_}" for key, is_ in rows)]
    )


def _data(data: PlannedData) -> str:
    if data.images is None:
        return f"{data.name}: not usable yet, see below"
    counts = ", ".join(f"{count:,} {name}" for name, count in data.images.items())
    return f"{data.name}: {counts} images"


def _training(planned: PlannedTraining, noun: str) -> str:
    epochs = f"{planned.epochs:g} {'epoch' if planned.epochs == 1 else 'epochs'}"
    if planned.images is None or planned.steps is None or planned.passing is None:
        size = f"{epochs}; steps and images follow from the data"
    else:
        size = (
            f"{epochs} of {text.count(planned.images, 'image')}, {text.count(planned.steps, 'step')}, "
            f"{text.count(planned.passing, 'image')} pass"
        )
    done = ""
    if planned.finished:
        done = "; finished already" if planned.models == 1 else f"; {planned.finished:,} finished already"
    return f"{text.count(planned.models, noun)}: {size}{done}"
