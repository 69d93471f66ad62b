"""``negmerge patch``: the merged vector as a file of its own, applied without the checkpoints."""

from __future__ import annotations

from typing import ClassVar

from ..commands import Group, make_group

EXAMPLES = """\
Examples:
  negmerge patch make base/ ft1/ ft2/ -o forget.patch
  negmerge patch info forget.patch
  negmerge patch apply base/ forget.patch -o merged/ --scale 0.8"""


class _Patch(Group):
    package = __package__
    panels: ClassVar = {
        "Commands": {
            "make": "Merge the task vectors of FT... and store the result sparsely.",
            "apply": "Apply a patch to the base checkpoint that it was made from.",
            "info": "Show what a patch holds: its origin, what it keeps, its size against the model's.",
        }
    }


COMMAND = make_group(
    _Patch,
    name="patch",
    help="Keep the merged vector as a patch: a sparse file that any scale is applied from.",
    epilog=EXAMPLES,
)
