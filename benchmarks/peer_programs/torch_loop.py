"""The merge as a script on whole state dicts, in the manner of the paper's own code: BASE FINETUNED... OUT.

Models are loaded one after the other; the sum of the task vectors and the sum of their signs are kept at
the model's size. An element is kept where all signs are the same.
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file, save_file


def main(base_path: str, *others: str) -> None:
    *pool, out = others
    base = load_file(base_path)
    total = {name: torch.zeros_like(weight) for name, weight in base.items()}
    signs = {name: torch.zeros_like(weight) for name, weight in base.items()}
    for path in pool:
        finetuned = load_file(path)
        for name, weight in base.items():
            delta = finetuned[name] - weight
            total[name] += delta
            signs[name] += delta.sign()
    merged = {
        name: weight - torch.where(signs[name].abs() == len(pool), total[name] / len(pool), 0.0)
        for name, weight in base.items()
    }
    save_file(merged, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
