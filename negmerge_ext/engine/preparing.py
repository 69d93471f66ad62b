"""The front half of a merge to files: what will be written, and everything that stands against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.finished import Finished, find_finished
from ..checkpoint.output import Output, plan_output
from ..checkpoint.preflight import folder_problems, output_problems
from ..checkpoint.provenance import identity, input_identities, provenance
from ..errors import (
    DeviceError,
    DeviceMemoryError,
    MemoryBudgetError,
    NegmergeError,
    OptionError,
    each_problem,
    raise_problems,
)
from ..in_memory.device_memory import CPU
from ..options import Options
from ..plan import Plan, output_tensors
from ..source import Source
from .budget import fit
from .needs import find_needs
from .pipeline import Settings
from .placing import Rows
from .sinks import FileSink
from .trimming import fit_trimming
from .workers import Mergers


@dataclass(frozen=True, slots=True)
class Prepared:
    """A merge to files that may begin.

    digest: identifies it; ``None`` if it cannot be resumed. finished: if the merge is to be resumed and its
    output is there already. problems: what would stop it.
    """

    output: Output
    digest: str | None
    finished: Finished | None
    problems: tuple[NegmergeError, ...]


def prepare(
    plan: Plan[Rows],
    base: Source[Rows],
    out: Path,
    settings: Settings,
    mergers: Mergers,
    *,
    inputs: Sequence[str],
    overwrite: bool,
    verify: bool,
    resume: bool,
) -> Prepared:
    """Decide what a merge writes to ``out`` and find its problems; nothing is written.

    mergers: gets the workers of a CUDA device.

    Raises :class:`~negmerge_ext.errors.OptionError`, :class:`~negmerge_ext.errors.OutputError` or
    :class:`~negmerge_ext.errors.CheckpointError` if there can be no such output, and
    :class:`~negmerge_ext.errors.ResumeError` for the journal of another merge.
    """
    recorded = provenance(plan, input_identities(plan, inputs))
    digest = identity(plan, recorded)
    try:
        if resume and digest is None:
            raise OptionError(
                "a merge of state dicts in memory cannot be resumed", remedy="Leave resume (--resume) out"
            )
        output = plan_output(base, plan.tensors, out, recorded)
    except NegmergeError as problem:
        raise_problems(
            [*folder_problems(out), *each_problem(problem), *budget_problems(plan, settings, mergers)]
        )
        raise
    finished = find_finished(output, plan, digest) if resume and digest is not None else None
    problems = [] if finished else output_problems(output, overwrite=overwrite)
    if not finished or verify:
        problems += budget_problems(plan, settings, mergers)
    return Prepared(output, digest, finished, tuple(problems))


def foreseen_problems(
    base: Source[object], out: Path, options: Options, *, overwrite: bool
) -> list[NegmergeError]:
    """What stands against the output of a merge whose fine-tuned models are not in order yet."""
    try:
        # What is recorded of the inputs is left out, so this asks for a little less room than the output.
        output = plan_output(base, output_tensors(base, options), out, {})
    except NegmergeError as problem:
        return [*folder_problems(out), *each_problem(problem)]
    return output_problems(output, overwrite=overwrite)


def budget_problems(plan: Plan[Rows], settings: Settings, mergers: Mergers) -> list[NegmergeError]:
    """What stands against writing the output of ``plan`` to files within ``settings.max_memory``.

    mergers: gets the workers of a CUDA device, which tells whether there is memory for them.
    """
    needs = find_needs(plan, FileSink.wants)
    try:
        shape = fit(plan, needs, settings.max_memory, threads=settings.threads, device=settings.device)
        fit_trimming(plan, settings.max_memory, settings.threads)
        if shape.device != CPU:
            mergers.get(shape.device, shape.workers)
    except (MemoryBudgetError, DeviceError, DeviceMemoryError) as problem:
        return [problem]
    return []
