"""Time what the command line takes before and around the work: whole processes, in interleaved rounds.

The help pages, and a merge of three small files, beside the bare interpreter and the import of torch.

    python benchmarks/startup.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import options
from harness.checkpoints import workplace, write_pool
from harness.command_line import compile_packages, negmerge
from harness.processes import process
from harness.samples import median
from harness.timing import interleave


def main() -> None:
    parser = options.parser(__doc__)
    arguments = parser.parse_args()
    compile_packages()
    results = options.results(arguments, "startup")
    with workplace(None) as folder:
        paths = write_pool(folder, "small", 2)
        out: Path = folder / "merged.safetensors"
        merge = negmerge("merge", *paths, "-o", out, "--overwrite", "--quiet")
        variants = {
            "python -c pass": process([sys.executable, "-c", "pass"]),
            "negmerge --help": process(negmerge("--help")),
            "negmerge merge --help": process(negmerge("merge", "--help")),
            "negmerge merge": process(merge),
            "python -c 'import torch'": process([sys.executable, "-c", "import torch"]),
        }
        seconds = interleave(variants, options.rounds(arguments))
        facts = {"bytes": [path.stat().st_size for path in [*paths, out]]}
    results.add({"case": "processes"}, seconds, facts)
    for name in variants:
        print(f"{name}: {median(seconds, name) * 1e3:.0f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
