"""``negmerge patch info``: what a patch holds."""

from __future__ import annotations

import json

from ..commands import make_command
from ..options import AsJson, PatchFile
from ..show import show, show_exactly
from ..summary import patch_summary

EXAMPLE = """\
Example:
  negmerge patch info forget.patch"""


def info(patch: PatchFile, as_json: AsJson = False) -> None:
    """Show what a patch holds: its origin, what it keeps, its size against the model's."""
    from negmerge_ext import Patch

    description = Patch.load(patch).describe()
    if as_json:
        show_exactly(json.dumps(description, indent=2))
    else:
        show(patch_summary(description))


COMMAND = make_command(info, epilog=EXAMPLE)
