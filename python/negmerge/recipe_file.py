"""Reading a recipe from YAML, and saying what is wrong with one: file, line, key, nearest known key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Sequence
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import RecipeError
from .methods import METHODS
from .recipe import ChosenMethod, Recipe
from .registry import suggestion

_Location = tuple[int | str, ...]

#: How messages of pydantic about bounds begin.
_BE = "Input should be"
#: Mistakes told at most, and characters of a value.
_LISTED, _LONGEST = 20, 60


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """The recipe in a YAML file, or the one of that name that comes with the package, and its text.

    Raises :class:`~negmerge.errors.RecipeError`, which lists every mistake with its line.
    """
    # A folder of that name is most likely that of a run.
    if (path.is_dir() or not path.exists()) and str(path) in embedded_recipes():
        return embedded_recipe(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "is not UTF-8 text"
        remedy = None if path.exists() else _hint(path)
        raise RecipeError(f"cannot be read: {reason}", path=path, remedy=remedy) from problem
    return parse_recipe(text, str(path)), text


def _hint(path: Path) -> str:
    """What may have been meant by the name of a file that is not there."""
    known = embedded_recipes()
    for written in (str(path.with_suffix("")) if path.suffix in (".yaml", ".yml") else str(path), path.stem):
        if nearest := difflib.get_close_matches(written, known, n=1):
            return f"A recipe of the package, named without suffix: did you mean {nearest[0]!r}?"
    return "negmerge recipes lists those that come with the package"


def embedded_recipe(name: str) -> tuple[Recipe, str]:
    """A recipe that comes with the package, and its text."""
    text = embedded_text(name)
    return parse_recipe(text, f"recipe {name!r}"), text


def embedded_text(name: str) -> str:
    """The text of a recipe that comes with the package; its first line is a comment that says what it is.

    Raises :class:`~negmerge.errors.RecipeError` if there is none of that name.
    """
    if name not in embedded_recipes():
        raise RecipeError(f"no recipe of the package is called {name!r}", remedy=_hint(Path(name)))
    return (resources.files("negmerge") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def embedded_recipes() -> list[str]:
    """The names of all recipes that come with the package; those of the paper begin with ``paper/``."""
    folder = resources.files("negmerge") / "recipes"
    return sorted(
        f"{below}{file.name.removesuffix('.yaml')}"
        for below in ("", "paper/")
        for file in (folder / below).iterdir()
        if file.name.endswith(".yaml")
    )


def parse_recipe(text: str, label: str) -> Recipe:
    """The recipe that ``text`` holds; errors call it ``label``."""
    try:
        root, document = _read(text)
    except yaml.YAMLError as problem:
        raise RecipeError(f"is not valid YAML: {_yaml_problem(problem)}", path=label) from problem
    except RecursionError as problem:
        raise RecipeError("is not a recipe: it is nested too deeply", path=label) from problem
    except ValueError as problem:  # of a date or a number that is none
        raise RecipeError(f"is not valid YAML: {problem}", path=label) from problem
    if not isinstance(document, dict) or not isinstance(root, yaml.MappingNode):
        raise RecipeError(
            "is not a recipe: a mapping of keys such as name, data and pool is expected", path=label
        )
    try:
        return Recipe.model_validate(document)
    except ValidationError as problem:
        # A key may be missing because it is misspelt: what was written comes first.
        errors = sorted(problem.errors(), key=lambda error: error["type"] == "missing")
        mistakes = [_explain(error, root) for error in errors[:_LISTED]]
        if len(errors) > _LISTED:
            mistakes.append(f"and {len(errors) - _LISTED:,} more")
        text = mistakes[0] if len(errors) == 1 else "\n  - ".join([f"{len(errors)} mistakes:", *mistakes])
        raise RecipeError(text, path=label) from problem


class _Loader(yaml.SafeLoader):
    """YAML's plain data types only, and no key twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here a second time", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(text: str) -> tuple[yaml.Node | None, Any]:
    """The tree of nodes, which knows lines, and the plain data made of it."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _yaml_problem(problem: yaml.YAMLError) -> str:
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        return f"line {problem.problem_mark.line + 1}: {problem.problem}"
    return str(problem)


def _explain(error: ErrorDetails, root: yaml.MappingNode) -> str:
    kind, location = error["type"], error["loc"]
    *parents, last = location or ("",)
    if kind in ("extra_forbidden", "invalid_key"):
        known = _section(parents, root).model_fields
        within = f" in {_dotted(parents)}" if parents else ""
        said = f"unknown key {str(last)!r}{within}" + (
            suggestion(str(last), known) if known else ": it has none"
        )
    elif kind == "missing":
        said = f"{_dotted(location)} is missing"
    else:
        said = f"{_dotted(location)}: {_in_words(error)}"
    return f"line {_line(location, root)}: {said}"


def _in_words(error: ErrorDetails) -> str:
    """What is wrong with a value, for people who write recipes, not Python."""
    kind, given = error["type"], error["input"]
    if kind == "literal_error":
        known = re.findall("'([^']*)'", error["ctx"]["expected"])
        return f"{_shown(given)} is not one of its values{suggestion(str(given), known)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{_shown(given)} is no section: keys with values are expected"
    if kind in ("int_type", "int_from_float", "int_parsing", "int_parsing_size"):
        return f"{_shown(given)} is not a whole number"
    if kind in ("float_type", "float_parsing"):
        return f"{_shown(given)} is not a number"
    if kind in ("bool_type", "bool_parsing"):
        return f"{_shown(given)} is neither true nor false"
    if kind == "string_type":
        return f"{_shown(given)} is not text; quotes make it so"
    if kind == "list_type":
        return f"{_shown(given)} is not a list"
    if kind == "too_short":
        return "lists nothing"
    if kind == "too_long":
        return f"lists more than {error['ctx']['max_length']:,} values"
    words = error["msg"].removeprefix("Value error, ")
    return f"{_shown(given)} should be{words.removeprefix(_BE)}" if words.startswith(_BE) else words


def _shown(value: Any) -> str:
    """A value as YAML has it, on one short line."""
    if isinstance(value, (dict, list, set)):
        return "what stands here"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _dotted(location: Sequence[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "recipe"


def _section(location: Sequence[int | str], root: yaml.MappingNode) -> type[BaseModel]:
    """The section of the data model that ``location`` leads to; of a method, that of its hyper-parameters."""
    section: type[BaseModel] = Recipe
    for place, part in enumerate(location):
        if isinstance(part, int):
            if section is ChosenMethod:
                section = METHODS.get(_method_at(location[:place], part, root)).options
            continue
        annotation = section.model_fields[part].annotation
        section = next(
            kind for kind in _kinds(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return section


def _method_at(location: Sequence[int | str], number: int, root: yaml.MappingNode) -> str:
    """The name of a method, whose hyper-parameters were looked at and which has one therefore."""
    (node,) = (value for key, value in root.value if key.value == location[0])
    chosen = node.value[number] if isinstance(node, yaml.SequenceNode) else node
    (name,) = (value.value for key, value in chosen.value if key.value == "name")
    return str(name)


def _kinds(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, UnionType, Annotated, list):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation]


def _line(location: _Location, root: yaml.Node) -> int:
    """The line, from 1, of the key or item at ``location``, or of what comes nearest above it."""
    node, line = root, root.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1
