"""Reading a recipe from YAML, and saying what is wrong with one: file, line, key, nearest known key."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from .errors import RecipeError
from .recipe import Recipe
from .registry import suggestion

_Location = tuple[int | str, ...]


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """The recipe in a YAML file, or the one of that name that comes with the package, and its text.

    Raises :class:`~negmerge.errors.RecipeError`, which lists every mistake with its line.
    """
    if not path.exists() and str(path) in embedded_recipes():
        return embedded_recipe(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "is not UTF-8 text"
        remedy = (
            None
            if path.suffix
            else f"No recipe of the package is it{suggestion(str(path), embedded_recipes())}"
        )
        raise RecipeError(f"cannot be read: {reason}", path=path, remedy=remedy) from problem
    return parse_recipe(text, str(path)), text


def embedded_recipe(name: str) -> tuple[Recipe, str]:
    """A recipe that comes with the package, and its text."""
    text = (resources.files("negmerge") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_recipe(text, f"recipe {name!r}"), text


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
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = None if root is None else _construct(text)
    except yaml.YAMLError as problem:
        raise RecipeError(f"is not valid YAML: {_yaml_problem(problem)}", path=label) from problem
    if not isinstance(document, dict) or not isinstance(root, yaml.MappingNode):
        raise RecipeError(
            "is not a recipe: a mapping of keys such as name, data and pool is expected", path=label
        )
    try:
        return Recipe.model_validate(document)
    except ValidationError as problem:
        # A key may be missing because it is misspelt: what was written comes first.
        errors = sorted(problem.errors(), key=lambda error: error["type"] == "missing")
        mistakes = [_explain(error["type"], error["loc"], error["msg"], root) for error in errors]
        text = mistakes[0] if len(mistakes) == 1 else "\n  - ".join([f"{len(mistakes)} mistakes:", *mistakes])
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


def _construct(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _yaml_problem(problem: yaml.YAMLError) -> str:
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        return f"line {problem.problem_mark.line + 1}: {problem.problem}"
    return str(problem)


def _explain(kind: str, location: _Location, message: str, root: yaml.MappingNode) -> str:
    *parents, last = location or ("",)
    if kind in ("extra_forbidden", "invalid_key"):
        section = _section(parents)
        within = f" in {_dotted(parents)}" if parents else ""
        said = f"unknown key {str(last)!r}{within}{suggestion(str(last), section.model_fields)}"
    elif kind == "missing":
        said = f"{_dotted(location)} is missing"
    else:
        said = f"{_dotted(location)}: {message.removeprefix('Value error, ')}"
    return f"line {_line(location, root)}: {said}"


def _dotted(location: Sequence[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "recipe"


def _section(location: Sequence[int | str]) -> type[BaseModel]:
    """The section of the data model that ``location`` leads to."""
    section: type[BaseModel] = Recipe
    for part in (part for part in location if isinstance(part, str)):
        annotation = section.model_fields[part].annotation
        section = next(
            kind for kind in _kinds(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return section


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
