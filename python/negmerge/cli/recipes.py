"""``negmerge recipes``: the recipes that come with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from .commands import make_command
from .options import AsJson
from .show import show, show_exactly

EXAMPLES = """\
Examples:
  negmerge recipes
  negmerge recipes digits > mine.yaml
  negmerge unlearn digits --dry-run"""


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", parser=str, show_default=False, help="Print this one as it is."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes that come with the package, or print one.

    Commands take their names in place of a file.
    """
    import json

    from ..recipe_file import embedded_recipes, embedded_text

    if name is not None:
        text = embedded_text(name)
        show_exactly(json.dumps({"name": name, "text": text}, indent=2) if as_json else text.rstrip("\n"))
        return
    about = {one: embedded_text(one).partition("\n")[0].removeprefix("# ") for one in embedded_recipes()}
    if as_json:
        listed = [{"name": one, "about": line} for one, line in about.items()]
        show_exactly(json.dumps({"recipes": listed}, indent=2))
        return
    widest = max(map(len, about))
    show("\n".join(f"{one:{widest}}  {line}" for one, line in about.items()))


COMMAND = make_command(recipes, epilog=EXAMPLES)
