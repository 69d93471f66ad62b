"""The merge as a script, by a formula of kernel.py, tensor by tensor: FORMULA BASE FINETUNED... OUT."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness.torch_formulas import FORMULAS, Formula


def main(formula: str, base_path: str, *others: str) -> None:
    *paths, out = others
    base, pool = load_file(base_path), [load_file(path) for path in paths]
    by_shape: dict[torch.Size, Formula] = {}
    merged = {}
    for name, weight in base.items():
        if weight.shape not in by_shape:
            by_shape[weight.shape] = FORMULAS[formula](weight)
        merged[name] = by_shape[weight.shape](weight, [model[name] for model in pool], 1.0, None)
    save_file(merged, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
