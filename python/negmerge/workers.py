"""Fine-tunings in processes of their own, one per device.

A worker gets the recipe and prepares data by itself; one job after the other is sent to whichever worker is
free. Workers do not see Ctrl-C: the process that started them ends them, on whatever way it leaves. Should it
be killed, they end by themselves.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

from torch import nn

from .errors import TrainingError
from .finetuning import Job, finetune
from .recipe import Recipe
from .results import Member

#: Seconds that a worker has to clean up before it is killed.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class _EpochDone:
    """A worker's message: the job goes on."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A worker's message: the job raised this."""

    problem: Exception


@dataclass(slots=True)
class _Worker:
    device: str
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


class Workers:
    """One process for each of ``devices``, within a ``with`` block that ends them all.

    recipe: of the run, without an index file. heads: by label of data set, if the base has such. base: the
    checkpoint that is fine-tuned.
    """

    def __init__(
        self, recipe: Recipe, heads: Mapping[str, nn.Module], base: Path, devices: Sequence[str]
    ) -> None:
        # In main memory, wherever they were used: a worker may not reach another's device.
        self._setup = (recipe, {label: copy.deepcopy(head).cpu() for label, head in heads.items()}, base)
        self._devices = devices
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        # Not forked: CUDA does not survive that, nor do locks that another thread holds.
        context = multiprocessing.get_context("spawn")
        try:
            for device in self._devices:
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work,
                    args=(*self._setup, device, theirs),
                    name=f"negmerge on {device}",
                    daemon=True,
                )
                self._workers.append(_Worker(device, process, ours))
                with _interrupts_ignored():
                    process.start()
                theirs.close()  # so that the end of the worker is the end of the pipe
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def finetuned(
        self,
        jobs: Iterator[Job],
        epoch_done: Callable[[], None],
        may_begin: Callable[[Job], bool] = lambda job: True,
    ) -> Iterator[tuple[Job, Member]]:
        """Results as they come, each before the next job goes to its worker.

        may_begin: whether the next job may go out; a worker is left without one until a result has changed
        that. It must be so while no job is under way. Raises what a fine-tuning raised, and
        :class:`~negmerge.errors.TrainingError` if a worker ended in the middle of one; but first come the
        results of the others that were under way.
        """
        following = next(jobs, None)
        problem: Exception | None = None

        def hand_out() -> None:
            nonlocal following
            for worker in self._workers:
                if worker.job is None and following is not None and may_begin(following):
                    _give(worker, following)
                    following = next(jobs, None)

        hand_out()
        while busy := {worker.pipe: worker for worker in self._workers if worker.job is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                job = worker.job
                assert job is not None, "it is busy"
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    message = _Failed(_lost(worker, job))
                if isinstance(message, _EpochDone):
                    epoch_done()
                    continue
                worker.job = None
                if isinstance(message, _Failed):
                    problem = problem or message.problem
                else:
                    yield job, message
                if problem is None:
                    hand_out()
        if problem is not None:
            raise problem

    def _end(self) -> None:
        started = [worker for worker in self._workers if worker.process.pid is not None]
        for worker in started:
            worker.process.terminate()
        for worker in started:
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Within the block: what is started does not see Ctrl-C, from its first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change this, and it alone is interrupted
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _give(worker: _Worker, job: Job) -> None:
    worker.job = job
    try:
        worker.pipe.send(job)
    except OSError:
        raise _lost(worker, job) from None


def _lost(worker: _Worker, job: Job) -> TrainingError:
    worker.process.join(_PATIENCE)
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    return TrainingError(
        f"the process that fine-tunes on {worker.device} {how} during fine-tuning {job.number}",
        remedy="Call the same command again: what is finished is kept. Fewer devices need less memory",
    )


def _work(recipe: Recipe, heads: Mapping[str, nn.Module], base: Path, device: str, pipe: Connection) -> None:
    """What a worker does: jobs until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    from .devices import device_named
    from .task import Task
    from .torch_settings import settings

    with settings(device_named(device), recipe.threads):
        task: Task | None = None
        while True:
            try:
                job: Job = pipe.recv()
                task = task or Task.prepare(recipe).on(device).with_heads(heads)
                pipe.send(finetune(task, base, job, lambda: pipe.send(_EpochDone())))
            except (EOFError, BrokenPipeError):
                return  # nobody is there any more
            except Exception as problem:
                pipe.send(_Failed(problem))


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Unfinished files are removed on the way out."""
    sys.exit(128 + signum)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "workers are started by a process"
    parent.join()
    os._exit(1)
