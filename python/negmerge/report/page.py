"""The pages: one run, or several of one recipe, as HTML that needs no other file, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ..results import Results, Row
from ..saliency import Saliency
from .agreement_table import agreement_table, kept_fractions
from .cells import percent
from .charts import against_coefficient, forget_against_retain, matched_over_seeds, sign_agreement
from .grid import Grid
from .matched_table import matched_table
from .pictures import strips
from .pool_table import pool_table
from .published_table import published_table
from .reference_table import reference_table
from .retained_table import retained_table
from .runs import matched_over_runs
from .seeds_table import held_out_table, runs_table
from .table import accuracy_table, comparison, cost_table

_TEMPLATES = Environment(
    loader=PackageLoader("negmerge.report"),
    autoescape=select_autoescape(("html.j2",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["one_line"] = lambda text: " ".join(str(text).split())
# A number and its unit stay on one line, as far as that is told by a space before the unit.
_TEMPLATES.filters["tied"] = lambda text: " ".join(str(text).split()).replace(" %", "\N{NO-BREAK SPACE}%")
_TEMPLATES.filters["in_cell"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")


@dataclass(frozen=True, slots=True)
class Fact:
    """A number at the top of the page: what it is, before and after."""

    name: str
    before: str
    after: str
    unit: str


def run_page(results: Results, recipe_text: str, saliency: Saliency | None) -> str:
    """The page of a run. recipe_text: as it was read. saliency: what was recorded of it."""
    agreement = results.agreement
    return _TEMPLATES.get_template("run.html.j2").render(
        **_of_run(results, recipe_text),
        curves=forget_against_retain(results),
        coefficients=against_coefficient(results),
        histogram=None if agreement is None else sign_agreement(agreement),
        kept=[] if agreement is None else kept_fractions(agreement),
        saliency=saliency,
        strips=[] if saliency is None or saliency.missing else strips(saliency),
    )


def run_markdown(results: Results, recipe_text: str) -> str:
    """The same as Markdown, without charts and pictures."""
    return _TEMPLATES.get_template("run.md.j2").render(**_of_run(results, recipe_text))


def comparison_page(runs: Sequence[Results], recipe_text: str) -> str:
    """The page of several runs. recipe_text: the first one's."""
    return _TEMPLATES.get_template("comparison.html.j2").render(
        **_of_runs(runs, recipe_text), curves=matched_over_seeds(runs, matched_over_runs(runs))
    )


def comparison_markdown(runs: Sequence[Results], recipe_text: str) -> str:
    """The same as Markdown, without the chart."""
    return _TEMPLATES.get_template("comparison.md.j2").render(**_of_runs(runs, recipe_text))


def _of_run(results: Results, recipe_text: str) -> dict[str, Any]:
    return {
        "results": results,
        "recipe_text": recipe_text,
        "headline": _headline(results),
        "facts": _facts(results),
        "said": comparison(results),
        "accuracies": accuracy_table(results),
        "retained": retained_table(results),
        "references": reference_table(results),
        "published": published_table(results),
        "matched": matched_table([results]),
        "agreements": None if results.agreement is None else agreement_table(results.agreement),
        "costs": cost_table(results),
        "members": pool_table(results),
        "provenance": _provenance([results]),
    }


def _of_runs(runs: Sequence[Results], recipe_text: str) -> dict[str, Any]:
    methods = matched_over_runs(runs)
    grids: list[Grid] = [matched_table(runs), held_out_table(methods, len(runs)), runs_table(runs)]
    return {
        "runs": runs,
        "recipe_text": recipe_text,
        "grids": grids,
        "provenance": _provenance(runs),
    }


def _headline(results: Results) -> Row:
    """The row that stands for the run at the top: NegMerge, or else the last method searched, or the last."""
    searched = [row for row in results.rows[1:] if row.coefficient is not None]
    ours = next((row for row in searched if row.method == "negmerge"), None)
    return ours or (searched or list(results.rows))[-1]


def _facts(results: Results) -> list[Fact]:
    before, after = results.rows[0], _headline(results)
    facts = [
        Fact("Forget accuracy, test", percent(before.test.forget), percent(after.test.forget), "%"),
        Fact("Retain accuracy, test", percent(before.test.retain), percent(after.test.retain), "%"),
    ]
    gap = results.average_gap(after)
    if gap is not None:
        facts.append(
            Fact("Average gap to Retrain", percent(results.average_gap(before), 2), percent(gap, 2), "points")
        )
    return facts


def _provenance(runs: Sequence[Results]) -> list[tuple[str, str]]:
    first = runs[0]
    recipe = first.recipe
    alike = all(results.versions == first.versions for results in runs)
    seeds = ", ".join(str(results.recipe["seed"]) for results in runs)
    data = {(label, sha256) for results in runs for label, sha256 in results.data_sha256.items()}
    return [
        ("Recipe", ", ".join(str(results.recipe["name"]) for results in runs)),
        ("Seed" if len(runs) == 1 else "Seeds", seeds),
        ("Threads", str(recipe["threads"])),
        ("Model", ", ".join(f"{key} {value}" for key, value in recipe["model"].items())),
        *((f"SHA-256 of {label}", sha256) for label, sha256 in sorted(data)),
        *((name, value) for name, value in first.versions.items()),
        *([] if alike else [("Note", "versions are the first run's; the others differ")]),
    ]
