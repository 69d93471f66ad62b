"""The pages: one run, or several of one recipe, as HTML that needs no other file, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ..origin import Origin
from ..results import Results, Row
from ..saliency import Saliency
from .agreement_table import agreement_table, kept_fractions
from .cells import listed, percent
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
from .table import accuracy_table, best_on_test, comparison, cost_table, headline
from .varied import varied

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


@dataclass(frozen=True, slots=True)
class Headline:
    """A method at the top of the page: its name, its coefficient if it has one, what it came to."""

    title: str
    coefficient: str
    facts: list[Fact]


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
        "headlines": _headlines(results),
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
    grids: list[Grid] = [matched_table(runs), held_out_table(methods, runs), runs_table(runs)]
    return {
        "runs": runs,
        "recipe_text": recipe_text,
        "varied": varied(runs),
        "grids": grids,
        "provenance": _provenance(runs),
    }


def _headlines(results: Results) -> list[Headline]:
    """What stands at the top: NegMerge, and the best method if that is another. Nothing of a base alone."""
    ours, best = headline(results), best_on_test(results)
    if ours.method == "base":
        return []
    shown = [Headline(ours.title, _coefficient(ours), _facts(results, ours))]
    if best is not ours:
        shown.append(Headline(f"{best.title}, the best on test", _coefficient(best), _facts(results, best)))
    return shown


def _coefficient(row: Row) -> str:
    return "" if row.coefficient is None else f"λ = {row.coefficient:.4g}"


def _facts(results: Results, after: Row) -> list[Fact]:
    before = results.rows[0]
    facts = [
        Fact(
            f"Forget accuracy, {results.forget_split}",
            percent(before.test.forget),
            percent(after.test.forget),
            "%",
        ),
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
    bases = dict.fromkeys(results.base_sha256 for results in runs if results.base_sha256 is not None)
    silent = [
        str(results.recipe["seed"])
        for results in runs
        if results.base_sha256 is None or results.origin is None
    ]
    model = [f"{key} {value}" for key, value in recipe["model"].items() if value is not None]
    return [
        ("Recipe", ", ".join(dict.fromkeys(str(results.recipe["name"]) for results in runs))),
        ("Seed" if len(runs) == 1 else "Seeds", seeds),
        *_origin([results.origin for results in runs if results.origin is not None]),
        ("Threads", str(recipe["threads"])),
        ("Model", ", ".join(model)),
        *(
            [("SHA-256 of the base" if len(bases) == 1 else "SHA-256 of bases", ", ".join(bases))]
            if bases
            else []
        ),
        *((f"SHA-256 of {label}", sha256) for label, sha256 in sorted(data)),
        *((name, value) for name, value in first.versions.items()),
        *([] if alike else [("Note", "versions are the first run's; the others differ")]),
        *(
            [("Note", f"of seed {listed(silent)} the base, or when and where, is not recorded")]
            if silent
            else []
        ),
    ]


def _origin(origins: Sequence[Origin]) -> list[tuple[str, str]]:
    """When and on what the stages were computed, as far as that was recorded."""
    if not origins:
        return []
    first, last = min(one.first for one in origins), max(one.last for one in origins)
    machines = list(dict.fromkeys(machine for one in origins for machine in one.machines))
    gpus = dict.fromkeys(gpu for machine in machines for gpu in machine.gpus)
    return [
        ("Computed", _span(first, last)),
        ("CPU", "; ".join(f"{one.cpu}, {one.cores} cores, {one.threads} threads" for one in machines)),
        ("GPU", ", ".join(gpus) or "none used"),
    ]


def _span(first: str, last: str) -> str:
    """From the one time to the other, both ISO 8601 in UTC, to the minute."""
    start, end = (time[:16].replace("T", " ") for time in (first, last))
    return f"{start} UTC" if start == end else f"{start} to {end} UTC"
