"""Merging fine-tuned models one at a time, as they are trained, without keeping any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import native
from .checkpoint import Checkpoint
from .checkpoint.provenance import InputIdentity, input_identities
from .engine.running_sum import RunningSum
from .engine.snapshot import read_rows, snapshot
from .engine.sum_file import SumDescription, read_description, read_sums, stored_in_double, write_sums
from .engine.trimming import find_thresholds
from .errors import (
    DtypeError,
    NegmergeError,
    OptionError,
    PatchMismatchError,
    PoolError,
    TiedTensorError,
    raise_problems,
)
from .in_memory.copying import copy_tensors
from .in_memory.device_memory import CallOrder
from .in_memory.overlap import tied_tensors
from .in_memory.plain_tensor import mark_written, same_elements
from .in_memory.same_device import check_devices, check_output_devices
from .in_memory.state_dict import MemoryRows, StateDictSource
from .in_memory.targets import Target, given_target, new_target
from .in_memory.ties import check_ties
from .inputs import PATH_TYPES, ModelSource, open_model, parse_threads
from .methods import Method
from .options import Options
from .patch import Patch
from .patches.builder import MemoryBuilder
from .patches.description import describe
from .patches.fingerprint import tensor_fingerprints
from .plan import COPIED, Plan, PlannedTensors, make_plan
from .stats import MergeReport, TensorStats, tensor_stats

if TYPE_CHECKING:
    from .inputs import Model, PathName, StateDict


class Accumulator:
    """A merge whose fine-tuned models are given one at a time.

    The result has the same bits as :func:`negmerge_ext.merge` of all of them in the order in which they were
    added. Memory does not depend on their number: a copy of the base (training usually changes the base's
    own tensors), and what the method has to know of each merged element, 4 bytes for the sum of task vectors
    (8 where the merge computes in fp64) and two bits for the signs, or four such sums and no bits for "ties",
    all on the device that each tensor of the base is on, where the models' tensors must be, too. On CUDA
    devices ``add`` and ``finish`` put their work on torch's current stream and, unless the method trims (as
    "ties" does), do not wait for it; where calls are on different streams, the device does their work in the
    order of the calls. (The models and ``out`` are the caller's: what another stream does to them is to be
    waited for, as for any work in torch.) Not for use by several threads at once.

    Parameters
    ----------
    base, method, include, exclude, threads
        As for :func:`negmerge_ext.merge`, except that an exclude pattern need not match: a later model may
        have what it is meant for. A base on disk is read into memory.

    Raises
    ------
    What :func:`negmerge_ext.merge` raises about the base and the options.

    Example
    -------
    >>> import torch, negmerge_ext
    >>> accumulator = negmerge_ext.Accumulator({"weight": torch.tensor([1.0, 1.0, 1.0])})
    >>> for weight in ([2.0, 2.0, 1.0], [4.0, 0.0, 5.0]):
    ...     accumulator.add({"weight": torch.tensor(weight)})
    >>> accumulator.finish(scale=0.5)
    {'weight': tensor([0., 1., 1.])}
    """

    def __init__(
        self,
        base: Model,
        method: str | Method = "negmerge",
        *,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self._options = Options.parse(method=method, include=include, exclude=exclude)
        self._threads = parse_threads(threads) or 0
        source = open_model(base, "base")
        _check_base(source, self._options)
        self._base = snapshot(source)
        self._rows = self._base.rows(self._base.tensors.names)
        self._devices = np.unique(self._rows.device).tolist()
        self._order = CallOrder()
        self._inputs: list[InputIdentity] = []  # the base, once a model was added, then the models
        self._tensors = PlannedTensors.copied({})
        self._merged: tuple[int, ...] = ()
        self._sum: RunningSum | None = None
        self._enter()

    @property
    def models(self) -> int:
        """Number of fine-tuned models added so far."""
        return max(0, len(self._inputs) - 1)

    def add(self, finetuned: Model) -> None:
        """Add a fine-tuned model: a state dict, a module or a path; it is not needed afterwards.

        Raises what :func:`negmerge_ext.merge` raises about a fine-tuned checkpoint, and
        :class:`~negmerge_ext.errors.DtypeError` for the first fp64 tensor among fp32 and smaller ones: the
        merge of all models would compute it in fp64 from the first one on. After an exception the
        accumulator is as it was before; if a signal handler raised it (Ctrl-C), or a device failed, while a
        second or later model was added, the accumulator cannot be used any more.
        """
        if self._inputs:
            self._running()
        else:
            self._enter()
        source = open_model(finetuned, f"finetuned[{self.models}]")
        plan: Plan[Any] = make_plan(self._base, [source], self._options, more_to_come=True)
        self._check_compute(plan, source)
        labels = [self._base.label, source.label]
        check_devices(plan, lambda: labels, None)
        check_ties(plan, tied_tensors(plan.tensors, self._rows), labels)
        identities = input_identities(plan, labels)
        rows: MemoryRows = plan.finetuned[0]
        if isinstance(source, Checkpoint):
            rows = read_rows(source, [plan.tensors[index].name for index in plan.merged])
        tensors = self._tensors if self._inputs else plan.tensors  # the compute types of all models
        planned = replace(plan, tensors=tensors, base=self._rows, finetuned=(rows,))
        thresholds = find_thresholds(planned, None, self._threads or None)
        # Whatever cuts the addition short leaves no sum behind, as a part of it would be wrong.
        running = self._sum or RunningSum(plan, self._rows)
        workspaces = running.workspaces()
        self._sum = None
        running.add(rows.address, plan.finetuned_dtypes[0], thresholds, self._threads, workspaces)
        if not self._inputs:
            self._tensors, self._merged = plan.tensors, plan.merged
            self._inputs.append(identities[0])
        self._sum = running
        self._inputs.append(identities[1])

    def finish(
        self,
        *,
        scale: float = 1.0,
        mode: str = "negate",
        out: StateDict | None = None,
        out_dtype: object = None,
    ) -> StateDict:
        """The merged model: a new state dict like the base, or ``out`` (a state dict or module) written into.

        Arguments are those of :func:`negmerge_ext.merge`, except that ``out`` cannot be a path. May be called
        again, with other arguments or after further models. Raises
        :class:`~negmerge_ext.errors.PoolError` if no model was added, and what ``merge`` raises about its
        ``out``.
        """
        running = self._running()
        if isinstance(out, PATH_TYPES):
            raise OptionError(
                "finish() writes into memory, not to a path",
                remedy="Save the state dict it returns, or use patch().apply_to_file()",
            )
        parsed = Options.parse(scale=scale, mode=mode, out_dtype=out_dtype)
        chosen = replace(self._options, scale=parsed.scale, mode=parsed.mode, out_dtype=parsed.out_dtype)
        plan = self._plan(chosen)
        if out is None:
            target = new_target(plan, self._base, self._threads)
        else:
            target = given_target(plan, out)
            check_output_devices(plan, target.rows)
        self._check_target_ties(running, target)
        copied = plan.tensors.compute == COPIED
        try:
            with target.row_major_addresses(left_out=copied) as address:
                merged = plan.tensors.merged
                running.finish(
                    mode=plan.options.mode,
                    scale=plan.options.scale,
                    out=address[merged],
                    out_dtype=plan.tensors.out_dtype[merged],
                    threads=self._threads,
                )
            copied[list(target.tied)] = False
            copy_tensors(self._rows, target.rows, np.flatnonzero(copied), self._threads)
        finally:
            if out is not None:
                mark_written(target.rows.values)
        result: StateDict = target.result
        return result

    def stats(self) -> MergeReport:
        """Statistics of the merged vector of the models added so far."""
        running = self._running()
        return MergeReport(
            method=str(self._options.method),
            scale=self._options.scale,
            mode=self._options.mode,
            models=self.models,
            merged=self._statistics(running),
            copied=tuple(tensor.name for tensor in self._tensors if not tensor.merged),
            model_elements=sum(tensor.numel for tensor in self._tensors),
        )

    def patch(self) -> Patch:
        """The merged vector of the models added so far, as a patch of the base."""
        running = self._running()
        tensors = [self._tensors[index] for index in self._merged]
        builder = MemoryBuilder(tensors)
        running.vector_into(builder, self._threads)
        plan = self._plan(self._options)
        digests = list(self._fingerprints())
        return Patch(describe(plan, self._inputs, self._statistics(running), digests), builder.finish())

    def save(self, path: PathName, *, overwrite: bool = False) -> None:
        """Write the unfinished merge to a file, at once and durably; :meth:`load` goes on from it.

        The file takes about as many bytes as the running values and the signs do in memory. Raises
        :class:`~negmerge_ext.errors.PoolError` if no model was added,
        :class:`~negmerge_ext.errors.OutputExistsError` if ``path`` exists and is not to be overwritten,
        :class:`~negmerge_ext.errors.OutputError` if it cannot be written.
        """
        running = self._running()
        description = SumDescription(
            method=str(self._options.method),
            include=self._options.include,
            exclude=self._options.exclude,
            inputs=tuple(self._inputs),
            tensors=self._names(),
            fingerprints=self._fingerprints(),
        )
        write_sums(Path(path), description, running, overwrite=overwrite)

    @classmethod
    def load(cls, path: PathName, base: Model, *, threads: int | None = None) -> Accumulator:
        """The accumulator that was saved to ``path``, on the device that ``base`` is on.

        Raises what the constructor raises about the base, :class:`~negmerge_ext.errors.CheckpointError` for
        anything but a file that :meth:`save` wrote, and :class:`~negmerge_ext.errors.PatchMismatchError` if
        ``base`` is not the base of what was added.
        """
        described, stored = read_description(Path(path))
        found = cls(
            base, described.method, include=described.include, exclude=described.exclude, threads=threads
        )
        # A stand-in for the first model: plans depend on its dtypes, and on nothing else of it.
        first = {
            name: np.zeros(value.shape) if stored_in_double(stored, name) else value
            for name, value in zip(found._base.tensors.names, found._rows.values, strict=True)
        }
        plan = make_plan(found._base, [StateDictSource(first, "base")], found._options, more_to_come=True)
        found._tensors, found._merged = plan.tensors, plan.merged
        if found._names() != described.tensors or found._fingerprints() != described.fingerprints:
            raise PatchMismatchError(
                "the models added were fine-tuned from another base",
                path=path,
                remedy="Give the base that the accumulator was made with",
            )
        running = RunningSum(plan, found._rows)
        read_sums(stored, described, running)
        found._sum, found._inputs = running, list(described.inputs)
        return found

    def _names(self) -> tuple[str, ...]:
        return tuple(self._tensors[index].name for index in self._merged)

    def _fingerprints(self) -> tuple[str, ...]:
        threads = self._threads or native.default_threads()
        names = [tensor.name for tensor in self._tensors]
        return tuple(tensor_fingerprints(self._rows, names, list(self._merged), threads))

    def _statistics(self, running: RunningSum) -> tuple[TensorStats, ...]:
        rows = running.statistics(self._threads)
        names = (self._tensors[index].name for index in self._merged)
        return tensor_stats(names, running.numel.tolist(), rows)

    def _enter(self) -> None:
        """Have devices do the work of this call after that of earlier ones, on other streams, too."""
        sums = self._sum
        self._order.enter(
            self._devices, lambda: [*self._rows.on_devices(), *(() if sums is None else sums.on_devices())]
        )

    def _running(self) -> RunningSum:
        if self._sum is not None:
            self._enter()
            return self._sum
        if self._inputs:
            raise PoolError(
                f"the addition of finetuned[{self.models}] was interrupted and left a part of it",
                remedy="Make a new Accumulator and add the models again",
            )
        raise PoolError("no fine-tuned model was added", remedy="Call add() at least once")

    def _plan(self, options: Options) -> Plan[MemoryRows]:
        return Plan(
            options=options,
            tensors=self._tensors.written_in(options.out_dtype),
            merged=self._merged,
            base=self._rows,
            finetuned=(),
            finetuned_dtypes=np.empty((0, len(self._merged)), np.uint8),
        )

    def _check_compute(self, plan: Plan[Any], source: ModelSource) -> None:
        if not self._inputs:
            return
        raised = np.flatnonzero(plan.tensors.compute < self._tensors.compute)  # F64 is 0, F32 is 1
        problems = [
            DtypeError(
                "is F64, but its sum over the models before was computed in F32, unlike what a merge does",
                path=source.label,
                tensor=plan.tensors.table.names[index],
                remedy="Add this model first, convert it to float32, or give a base in float64 "
                "(finish(out_dtype=...) gives the other dtype back)",
            )
            for index in raised.tolist()
        ]
        raise_problems(problems)

    def _check_target_ties(self, running: RunningSum, target: Target) -> None:
        """Tensors that share memory in the output must get one result."""
        number = {index: position for position, index in enumerate(self._merged)}
        problems: list[NegmergeError] = []
        for index, first in target.tied.items():
            same = (index in number) == (first in number) and self._same_base(index, first)
            if same and index in number:
                same = running.same(number[index], number[first])
            if not same:
                problems.append(
                    TiedTensorError(
                        f"shares its memory with '{self._tensors[first].name}', but their results differ",
                        path="out",
                        tensor=self._tensors[index].name,
                        remedy="Give an output whose tensors are not tied",
                    )
                )
        raise_problems(problems)

    def _same_base(self, index: int, first: int) -> bool:
        a, b = self._tensors[index], self._tensors[first]
        one, two = self._rows.values[index], self._rows.values[first]
        return a.dtype == b.dtype and same_elements(one, two, a.name)


def _check_base(source: ModelSource, options: Options) -> None:
    """Raise what planning a merge finds wrong with the base alone."""
    try:
        make_plan(source, [], options, more_to_come=True)
    except PoolError:  # nothing else is wrong: there is no fine-tuned model yet
        return
