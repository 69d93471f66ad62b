"""The files of a model folder that belong to the model but hold no weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from .files import read_whole
from .strict_json import parse_object

CONFIG = "config.json"

#: Longest configuration that is read, in bytes; real ones stay far below.
_MAX_CONFIG = 100_000_000

#: Weights in any format, and archives that may contain some.
_WEIGHT_SUFFIXES = frozenset({
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".hdf5", ".keras", ".msgpack", ".npz", ".npy",
    ".pkl", ".pickle", ".gguf", ".ggml", ".onnx", ".onnx_data", ".tflite", ".ot", ".mlmodel", ".pb", ".nemo",
    ".tar", ".gz", ".zip", ".7z",
})  # fmt: skip

#: The state of a training run, which a merged model does not continue.
_TRAINING_STATE = frozenset(
    {"trainer_state.json", "scheduler.json", "all_results.json", "train_results.json"}
)
_TRAINING_LOG = "events.out.tfevents."


def companions(folder: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """Absolute paths of the files among ``names`` that a merged model takes over from its base.

    Taken: regular files (or symbolic links to such) that are not hidden and hold neither weights, nor a
    weights index, nor the state of a training run. So configuration, tokenizer, processor, chat template,
    code, licence and model card come along, whatever they are called; subfolders do not.
    """
    absolute = folder.absolute()
    return tuple(absolute / name for name in names if _belongs(name) and (absolute / name).is_file())


def config_with_dtype(path: Path, dtype: str) -> bytes | None:
    """A ``config.json`` that names ``dtype`` (as torch does) as that of the weights.

    ``None`` if the one at ``path`` names none. Raises :class:`~negmerge_ext.errors.CheckpointError` if it
    cannot be read.
    """
    content = read_whole(path, most=_MAX_CONFIG, kind="a configuration")
    try:
        config = parse_object(content)
    except ValueError:
        return None
    named = [key for key in ("torch_dtype", "dtype") if isinstance(config.get(key), str)]
    if not named:
        return None
    return (json.dumps(config | dict.fromkeys(named, dtype), indent=2) + "\n").encode()


def _belongs(name: str) -> bool:
    return not (
        name.startswith((".", _TRAINING_LOG))
        or name.endswith(".index.json")
        or name in _TRAINING_STATE
        or Path(name).suffix.lower() in _WEIGHT_SUFFIXES
    )
