"""From the words of a command line to values.

Typer converts each value by a validator that it builds with pydantic, and importing that takes longer than
merging small files. Here a parameter's own ``parser`` does, and pydantic stays out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import typer


def convert_values(command: Any, ctx: Any) -> None:
    """Have the values of ``command`` (of Typer) converted by the ``parser`` that each parameter declares.

    A parser raises ``ValueError`` with what is wrong, which is wrong use. Only words of the command line are
    given to it: a default is of its type already.
    """
    hints = get_type_hints(command.callback, include_extras=True)
    for param in command.get_params(ctx):
        if getattr(param.process_value, "converts", False):  # since an earlier call in this process
            continue
        declared = getattr(hints.get(param.name), "__metadata__", (None,))[0]
        param.process_value = _processing(param, getattr(declared, "parser", None))


def _processing(param: Any, parser: Callable[[str], Any] | None) -> Callable[[Any, Any], Any]:
    process_as_typer_does = param.process_value

    def process(ctx: Any, value: Any) -> Any:
        if param.required and param.value_is_missing(value):
            return process_as_typer_does(ctx, value)
        if value is None:
            value = () if param.multiple or param.nargs == -1 else None
        elif parser is None:
            return process_as_typer_does(ctx, value)
        else:
            try:
                if isinstance(value, str):
                    value = parser(value)
                elif isinstance(value, (list, tuple)):
                    value = [parser(word) for word in value]
            except ValueError as problem:
                raise typer.BadParameter(str(problem), ctx=ctx, param=param) from None
        return value if param.callback is None else param.callback(ctx, param, value)

    process.converts = True  # type: ignore[attr-defined]
    return process
