"""``negmerge demo``: the embedded default run."""

from __future__ import annotations

from .commands import make_command
from .options import AsJson, Quiet
from .run_options import Out, Overwrite
from .unlearn import run_recipe

EXAMPLES = """\
Examples:
  negmerge demo
  negmerge demo --out /tmp/digits --json

The recipe is left in the folder of the run: copy it, give it another name,
change it, and run it with negmerge unlearn. report.html beside it is the
report, for a browser."""


def demo(
    out: Out = None, overwrite: Overwrite = False, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Make a classifier of handwritten digits forget one digit, in a minute or two.

    Trains a small convolutional network on the 1,797 scanned digits that come with scikit-learn, fine-tunes
    it 16 times on one digit, merges these checkpoints, and compares NegMerge with the uniform mean, the best
    single task vector, other merges and a network that was trained without the digit. Downloads nothing.
    """
    from ..recipe_file import embedded_recipe

    run_recipe(*embedded_recipe("digits"), out=out, overwrite=overwrite, as_json=as_json, quiet=quiet)


COMMAND = make_command(demo, epilog=EXAMPLES)
