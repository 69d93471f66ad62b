"""Time whole merges between files, process by process, against the tools that do the same.

One base and eight fine-tuned fp32 checkpoints in memory (tmpfs); every process reads them and writes one
checkpoint. In interleaved rounds:

* negmerge: `negmerge merge`
* torch script: peer_programs/torch_loop.py, a loop over whole state dicts in the manner of the paper's code
* torch.stack, torch in place, torch.compile: peer_programs/torch_formula.py, tensor by tensor by the formulas
  that kernel.py times
* mergekit, same rule: mergekit-pytorch with peer_programs/mergekit_consensus.py
* mergekit linear, mergekit ties: its own methods on the same files, with weight 1 and density 1
* sd-mecha, same rule: peer_programs/sd_mecha_consensus.py

mergekit and sd-mecha come from PyPI, each into an environment of its own that sees the torch in use. What
does not install is left out. Outputs of the same rule are compared once.

    python benchmarks/peers.py --model squares
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import options
from harness.checkpoints import filesystem, workplace, write_pool
from harness.command_line import compile_packages, negmerge
from harness.environments import InstallError, environment
from harness.processes import in_child, process
from harness.samples import median
from harness.timing import Measurement, interleave

MERGEKIT, SD_MECHA = "mergekit==0.1.5", "sd-mecha==1.1.8"
PROGRAMS = Path(__file__).parent / "peer_programs"
FORMULAS = ("torch.stack", "torch in place", "torch.compile")
PEERS = (
    "torch script",
    *FORMULAS,
    "mergekit, same rule",
    "mergekit linear",
    "mergekit ties",
    "sd-mecha, same rule",
)
QUICK_PEERS = ("torch script", "torch.stack")
MODELS = 8
#: For tools that would otherwise ask the network about files that lie at hand.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class Pool:
    """The checkpoints and what is written beside them."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self.base, *self.finetuned = self.paths = write_pool(folder, model, MODELS)

    def output(self, name: str) -> Path:
        return self.folder / f"{name.replace(', ', '-').replace(' ', '-')}.safetensors"

    def negmerge(self, out: Path) -> list[object]:
        return negmerge("merge", *self.paths, "-o", out, "--quiet")

    def torch_script(self, out: Path) -> list[object]:
        return [sys.executable, PROGRAMS / "torch_loop.py", *self.paths, out]

    def torch_formula(self, name: str, out: Path) -> list[object]:
        return [sys.executable, PROGRAMS / "torch_formula.py", name, *self.paths, out]

    def sd_mecha(self, out: Path) -> list[object]:
        program = PROGRAMS / "sd_mecha_consensus.py"
        return [environment(SD_MECHA) / "python", program, *self.paths, out]

    def mergekit(self, method: str, out: Path) -> list[object]:
        """Have mergekit write the folder ``out``."""
        config = self.folder / f"{method}.yaml"
        lines = [f"merge_method: {method}", "dtype: float32", "models:"]
        for path in self.finetuned:
            lines += [f"  - model: {path}"]
            lines += [] if method == "consensus" else ["    parameters:", "      weight: 1.0"]
            lines += ["      density: 1.0"] if method == "ties" else []
        lines += [] if method == "linear" else [f"base_model: {self.base}"]
        config.write_text("\n".join(lines) + "\n")
        programs = environment(MERGEKIT)
        program = [programs / "python", PROGRAMS / "mergekit_consensus.py"]
        return [*(program if method == "consensus" else [programs / "mergekit-pytorch"]), config, out]

    def command(self, name: str) -> list[object]:
        out = self.output(name)
        make: dict[str, Callable[[], list[object]]] = {
            "negmerge": lambda: self.negmerge(out),
            "torch script": lambda: self.torch_script(out),
            **{formula: partial(self.torch_formula, formula, out) for formula in FORMULAS},
            "mergekit, same rule": lambda: self.mergekit("consensus", out),
            "mergekit linear": lambda: self.mergekit("linear", out),
            "mergekit ties": lambda: self.mergekit("ties", out),
            "sd-mecha, same rule": lambda: self.sd_mecha(out),
        }
        return make[name]()


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def compare(ours: Path, others: list[Path]) -> None:
    """Fail unless all hold nearly the same values."""
    import torch
    from safetensors.torch import load_file

    expected = load_file(ours)
    for path in others:
        found = load_file(path / "model.safetensors" if path.is_dir() else path)
        for name, tensor in expected.items():
            try:
                torch.testing.assert_close(found[name], tensor)
            except AssertionError as problem:
                sys.exit(f"{path.name}, {name}: {problem}")


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--model", choices=("squares", "vit-b32"), default="squares")
    parser.add_argument(
        "--peers", choices=PEERS, nargs="*", help=f"default: all, quick: {', '.join(QUICK_PEERS)}"
    )
    parser.add_argument(
        "--folder", type=options.new_folder, help="where the checkpoints lie, and stay (default: /dev/shm)"
    )
    arguments = parser.parse_args()
    peers = arguments.peers if arguments.peers is not None else QUICK_PEERS if arguments.quick else PEERS
    model = "small" if arguments.quick else arguments.model
    compile_packages()
    results = options.results(arguments, "peers")
    with workplace(arguments.folder, Path("/dev/shm")) as folder:
        pool = Pool(folder, model)
        variants: dict[str, Measurement] = {}
        for name in ("negmerge", *peers):
            try:
                before = partial(remove, pool.output(name))
                variants[name] = process(pool.command(name), before, env=OFFLINE)
            except InstallError as problem:
                print(f"without {name}: {problem}", file=sys.stderr)
        # What a process reads besides its inputs is in the page cache once it has run.
        seconds = interleave(variants, options.rounds(arguments))
        same_rule = [pool.output(name) for name in variants if "torch" in name or "same" in name]
        in_child(compare, pool.output("negmerge"), same_rule)
        facts = {
            "filesystem": filesystem(folder),
            "file_bytes": pool.base.stat().st_size,
            "peers": [MERGEKIT, SD_MECHA],
        }
        for name in variants:
            remove(pool.output(name))
    results.add({"model": model, "models": MODELS}, seconds, facts)
    for name in variants:
        print(f"{name}: {median(seconds, name):.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
