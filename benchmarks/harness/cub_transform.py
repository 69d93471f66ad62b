"""The merge by CUB's DeviceTransform (``cub_transform.cu``), compiled for a number of models and a dtype."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from .processes import cleaned_up

_ELEMENTS = {torch.float32: "float", torch.bfloat16: "__nv_bfloat16"}
_SOURCE = Path(__file__).with_suffix(".cu")
#: Elements that one call takes.
_MOST = 2**31 - 1
#: A number of models, and the dtype of all tensors.
Kind = tuple[int, torch.dtype]


class NoCubError(RuntimeError):
    """There is no such merge here; the message says why."""


class CubTransform:
    """One compiled merge."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def __call__(
        self, base: torch.Tensor, finetuned: Sequence[torch.Tensor], scale: float, out: torch.Tensor
    ) -> None:
        """Enqueue a merge of row-major tensors of this kind; :class:`NoCubError` if CUDA refuses."""
        if base.numel() > _MOST:
            raise NoCubError(f"one call takes up to {_MOST} elements")
        inputs = [base, *finetuned]
        error = self._library.merge(
            (ctypes.c_void_p * len(inputs))(*(tensor.data_ptr() for tensor in inputs)),
            ctypes.c_void_p(out.data_ptr()),
            ctypes.c_int(base.numel()),
            ctypes.c_float(scale),
            ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
        )
        if error:
            raise NoCubError(f"CUDA refuses the launch with error {error}")


def compile_all(kinds: Iterable[Kind], folder: Path, architecture: str) -> dict[Kind, Path | NoCubError]:
    """Libraries in ``folder`` for every kind, or why there is none; architecture: such as "sm_90"."""
    wanted = list(kinds)

    def attempt(kind: Kind) -> Path | NoCubError:
        try:
            return _compile(kind, folder, architecture)
        except NoCubError as problem:
            return problem

    with cleaned_up(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return dict(zip(wanted, threads.map(attempt, wanted), strict=True))


def _compile(kind: Kind, folder: Path, architecture: str) -> Path:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise NoCubError("nvcc is not found")
    models, dtype = kind
    library = folder / f"cub-{models}-{_ELEMENTS[dtype]}.so"
    command = [
        nvcc,
        "-std=c++17",
        "-O3",
        "--fmad=false",
        f"-arch={architecture}",
        "-shared",
        "-Xcompiler=-fPIC",
    ]
    command += [f"-DMODELS={models}", f"-DELEMENT={_ELEMENTS[dtype]}", str(_SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaints = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line]
        told = complaints[0].rpartition("error")[2].strip(": ") if complaints else "no reason given"
        raise NoCubError(f"nvcc does not compile it: {told}")
    return library
