"""``merge()`` and ``inspect()``: from what the user gives to sources, a plan, an engine and an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import native
from .checkpoint.preflight import place_problems
from .engine import stream
from .engine.preparing import foreseen_problems
from .errors import NegmergeError, OptionError, PoolError
from .in_memory.same_device import check_output_devices
from .in_memory.state_dict import StateDictSource
from .inputs import (
    PATH_TYPES,
    ModelSource,
    as_pool,
    labels_of,
    parse_settings,
    plan_models,
)
from .methods import Method
from .options import Options
from .stats import MergeReport

if TYPE_CHECKING:
    from .engine.dry_run import DryRun
    from .inputs import Model, PathName, StateDict

OutT = TypeVar("OutT", bound="StateDict")
ReportT = TypeVar("ReportT", MergeReport, "DryRun")


@overload
def merge(
    base: Model,
    finetuned: Sequence[Model],
    *,
    out: None = None,
    method: str | Method = ...,
    scale: float = ...,
    mode: str = ...,
    include: str | Sequence[str] | None = ...,
    exclude: str | Sequence[str] | None = ...,
    out_dtype: object = ...,
    max_memory: int | str | None = ...,
    threads: int | None = ...,
    device: object = ...,
    progress: bool = ...,
    overwrite: bool = ...,
    verify: bool = ...,
    resume: bool = ...,
) -> dict[str, Any]: ...
@overload
def merge(
    base: Model,
    finetuned: Sequence[Model],
    *,
    out: PathName,
    method: str | Method = ...,
    scale: float = ...,
    mode: str = ...,
    include: str | Sequence[str] | None = ...,
    exclude: str | Sequence[str] | None = ...,
    out_dtype: object = ...,
    max_memory: int | str | None = ...,
    threads: int | None = ...,
    device: object = ...,
    progress: bool = ...,
    overwrite: bool = ...,
    verify: bool = ...,
    resume: bool = ...,
) -> MergeReport: ...
@overload
def merge(
    base: Model,
    finetuned: Sequence[Model],
    *,
    out: OutT,
    method: str | Method = ...,
    scale: float = ...,
    mode: str = ...,
    include: str | Sequence[str] | None = ...,
    exclude: str | Sequence[str] | None = ...,
    out_dtype: object = ...,
    max_memory: int | str | None = ...,
    threads: int | None = ...,
    device: object = ...,
    progress: bool = ...,
    overwrite: bool = ...,
    verify: bool = ...,
    resume: bool = ...,
) -> OutT: ...
def merge(
    base: Model,
    finetuned: Sequence[Model],
    *,
    out: StateDict | PathName | None = None,
    method: str | Method = "negmerge",
    scale: float = 1.0,
    mode: str = "negate",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    out_dtype: object = None,
    max_memory: int | str | None = None,
    threads: int | None = None,
    device: object = None,
    progress: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    resume: bool = False,
) -> StateDict | MergeReport:
    """Merge a base checkpoint with N fine-tuned ones in one pass.

    With θ₀ an element of the base and θ_k of the k-th fine-tuned checkpoint, δ_k = θ_k − θ₀. Where all δ_k
    have the same sign, τ is their mean; everywhere else it is 0. The result is θ₀ − scale · τ
    (``mode="negate"``: unlearning), θ₀ + scale · τ (``"add"``) or τ itself (``"vector"``). Computed in
    fp64 if an input is fp64, else in fp32, and rounded once; bit-identical whatever the threads, the memory
    budget, the instruction set and the place of inputs and output. Source: Kim et al., NegMerge:
    Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025.

    Parameters
    ----------
    base
        A state dict (torch tensors, numpy arrays or both), an ``nn.Module``, or the path of a checkpoint: a
        ``.safetensors`` file, a Hugging Face folder, a ``torch.save`` file of a state dict.
    finetuned
        A sequence of N ≥ 1 of the same, in any mix. Names and shapes must be the base's; dtypes may differ
        (fp64, fp32, fp16, bf16, fp8 e4m3fn and e5m2).
    out
        ``None`` returns a new state dict like the base: its order, layouts, ties, torch or numpy as there,
        without gradients. (Tied are tensors of one address, shape and strides: a matrix and its transpose
        become two tensors.) A state dict or module is written into and returned; ``out=base`` merges in
        place. A path streams to files in bounded memory; a Hugging Face folder keeps its sharding.
    method
        A name out of :func:`negmerge_ext.methods`: ``"uniform"`` takes the mean everywhere, ``"conflict"``
        where signs differ, ``"magmax"`` the entry of largest magnitude, ``"ties"`` the mean of the largest
        entries that have the sign of their sum. A method's parameters are given as in
        ``"ties:density=0.1,per=tensor"`` or by ``methods()["ties"].with_(density=0.1)``. One that trims
        (``"ties"``) reads all models two more times first, or four more times if any tensor is fp64;
        CUDA devices are waited for then, so that the merge cannot be captured in a graph.
    scale
        The coefficient, finite; not used by ``mode="vector"``.
    mode
        ``"negate"``, ``"add"`` or ``"vector"``.
    include, exclude
        Glob patterns on whole tensor names: a tensor is merged if it matches an include pattern and no
        exclude pattern. What is left out, and every integer or boolean tensor, is copied from the base.
        ``include=None`` is everything but the running statistics of BatchNorm, which are averages of
        activations, not weights: extrapolating them can turn a variance negative. ``include="*"`` is
        everything. An entry that is no tensor must be excluded: it is in the new state dict as it is in the
        base, and not written to files.
    out_dtype
        Dtype of the merged tensors, by name or as a torch or numpy dtype; default: each tensor's in the base.
    max_memory
        Bytes, or text such as ``"256MiB"``. Where files are involved: what the merge may take for buffers and
        tables, whatever the size and number of the checkpoints (default 512 MiB). Between state dicts: what
        packed copies of tensors that are stored in unlike orders may take (nothing else is copied; on a CUDA
        device each such tensor is copied whole, one after the other, and does not count). State
        dicts that are given or returned do not count, nor, where they meet files, row-major copies of those
        of their tensors that are stored otherwise.
    threads
        Number of CPU threads, at most 1024; default: ``torch.get_num_threads()`` if torch is imported, else
        the CPUs that the process may use.
    device
        ``None`` or ``"auto"``: tensors are merged where they lie, on the CPU or on CUDA devices (base, models
        and output of each on one of them), and files on the CPU. On a CUDA device the merge goes to torch's
        current stream and is not waited for; it can be captured in a ``torch.cuda.graph``. ``"cpu"``,
        ``"cuda"``, ``"cuda:k"``: files are merged there, and tensors must lie there, but for those in main
        memory that go along with a base in a file.
    progress
        Show a bar while files are read or written, if standard error is a terminal.
    overwrite
        Replace what lies at the path ``out``.
    verify
        Read the written files back and compare them.
    resume
        Continue what an interrupted merge left at the path ``out``.

    Returns
    -------
    A state dict, or for a path a :class:`~negmerge_ext.MergeReport` with the statistics of every tensor.

    Raises
    ------
    Subclasses of :class:`~negmerge_ext.errors.NegmergeError` that name checkpoint, tensor and remedy, before
    anything is written. All problems of the inputs are raised together, and with them those of the place
    ``out`` on disk and, if the base can be read, of its room; what only good inputs let be known (memory,
    whether a given state dict fits) is raised together after that. Interrupted by a signal, ``out`` in memory
    is unfinished; files at the path ``out`` stay as they were.

    Example
    -------
    >>> import torch, negmerge_ext
    >>> base = {"weight": torch.tensor([1.0, 1.0, 1.0])}
    >>> pool = [{"weight": torch.tensor([2.0, 2.0, 1.0])}, {"weight": torch.tensor([4.0, 0.0, 5.0])}]
    >>> negmerge_ext.merge(base, pool, scale=0.5)
    {'weight': tensor([0., 1., 1.])}
    """
    options = Options.parse(
        method=method, scale=scale, mode=mode, include=include, exclude=exclude, out_dtype=out_dtype
    )
    settings = parse_settings(max_memory, threads, progress, device)
    models = as_pool(finetuned)
    if isinstance(out, PATH_TYPES):
        return _to_path(
            stream.merge_to_path,
            base,
            models,
            Path(out),
            options,
            settings,
            overwrite=overwrite,
            verify=verify,
            resume=resume,
        )
    for option, given in (("overwrite", overwrite), ("verify", verify), ("resume", resume)):
        if given:
            raise OptionError(f"{option} needs files to write", remedy="Give a path as out")
    return _merge_into_memory(base, models, out, options, settings)


def plan_merge(
    base: Model,
    finetuned: Sequence[Model],
    *,
    out: PathName,
    method: str | Method = "negmerge",
    scale: float = 1.0,
    mode: str = "negate",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    out_dtype: object = None,
    max_memory: int | str | None = None,
    threads: int | None = None,
    device: object = None,
    overwrite: bool = False,
    verify: bool = False,
    resume: bool = False,
) -> DryRun:
    """What :func:`merge` would do with the same arguments, known from metadata alone; nothing is written.

    Raises what ``merge`` raises about options and inputs, and about an ``out`` that cannot be; all other
    problems are listed in the result.
    """
    from .engine.dry_run import dry_run

    options = Options.parse(
        method=method, scale=scale, mode=mode, include=include, exclude=exclude, out_dtype=out_dtype
    )
    settings = parse_settings(max_memory, threads, progress=False, device=device)
    return _to_path(
        dry_run,
        base,
        as_pool(finetuned),
        Path(out),
        options,
        settings,
        overwrite=overwrite,
        verify=verify,
        resume=resume,
    )


def inspect(
    base: Model,
    finetuned: Sequence[Model],
    *,
    method: str | Method = "negmerge",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    max_memory: int | str | None = None,
    threads: int | None = None,
    device: object = None,
    progress: bool = False,
) -> MergeReport:
    """Statistics of the merged vector, and how far the fine-tuned checkpoints agree; nothing is written.

    Takes what :func:`merge` takes, but at most 65535 fine-tuned checkpoints, and raises what it raises. Each
    :class:`~negmerge_ext.TensorStats` of the report has the histogram ``agreement`` as well.
    """
    options = Options.parse(method=method, include=include, exclude=exclude)
    settings = parse_settings(max_memory, threads, progress, device)
    models = as_pool(finetuned)
    if len(models) > native.MOST_COUNTED:
        raise PoolError(
            f"finetuned has {len(models)} checkpoints, and the agreement of at most {native.MOST_COUNTED} "
            "can be counted",
            remedy="Inspect some of them; merge() takes any number",
        )
    _, plan = plan_models(base, models, options, settings.device)
    return stream.inspect(plan, settings)


def _to_path(
    execute: Callable[..., ReportT],
    base: Model,
    models: list[Model],
    out: Path,
    options: Options,
    settings: stream.Settings,
    *,
    overwrite: bool,
    verify: bool,
    resume: bool,
) -> ReportT:
    """Plan a merge to files and execute it, or have it foretold.

    Problems of the models are raised together with what is wrong about the place ``out``, its room included.
    """

    def foresee(source: ModelSource | None) -> list[NegmergeError]:
        # Whether an output that exists is that of the merge to be resumed shows only with a plan.
        if source is None or resume:
            return place_problems(out, overwrite=overwrite or resume)
        return foreseen_problems(source, out, options, overwrite=overwrite)

    source, plan = plan_models(base, models, options, settings.device, foresee)
    return execute(
        plan,
        source,
        out,
        settings,
        inputs=labels_of(base, models),
        overwrite=overwrite,
        verify=verify,
        resume=resume,
    )


def _merge_into_memory(
    base: Model, models: list[Model], out: StateDict | None, options: Options, settings: stream.Settings
) -> StateDict:
    from .engine.by_device import merge_where_it_lies
    from .in_memory.plain_tensor import mark_written
    from .in_memory.targets import given_target, new_target
    from .in_memory.ties import check_ties

    source, plan = plan_models(base, models, options, settings.device)
    labels = labels_of(base, models)
    if out is None:
        target = new_target(
            plan, source if isinstance(source, StateDictSource) else None, settings.threads or 0
        )
    else:
        target = given_target(plan, out)
        check_output_devices(plan, target.rows)
    check_ties(plan, target.tied, labels)
    try:
        if any(isinstance(model, PATH_TYPES) for model in [base, *models]):
            with target.row_major_addresses() as addresses:
                stream.merge_into_memory(plan, addresses, settings)
        else:
            merge_where_it_lies(plan, target, threads=settings.threads or 0, max_memory=settings.max_memory)
    finally:
        if out is not None:
            mark_written(target.rows.values)
    result: StateDict = target.result
    return result
