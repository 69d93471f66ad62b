from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib.image
import pytest
from negmerge.evaluate import Scores
from negmerge.recipe import Recipe
from negmerge.report.plot import draw
from negmerge.report.table import comparison, table
from negmerge.results import Member, Results, Row
from negmerge.search import Point
from rich.console import Console

CURVE = (Point(0.0, 1.0, 0.99), Point(0.5, 0.25, 0.96), Point(1.0, 0.0, 0.5))


def row(method: str, title: str, coefficient: float, *, at_limit: bool = False, candidates: int = 1) -> Row:
    return Row(
        method=method,
        title=title,
        validation=Scores(0.25, 0.96),
        test=Scores(0.375, 0.9512),
        seconds=12.34,
        candidate="pool member 007",
        coefficient=coefficient,
        at_limit=at_limit,
        kept=125,
        elements=1000,
        evaluations=56,
        curve=CURVE,
        candidates=tuple(Point(0.5, place / 4, 0.96) for place in range(candidates)),
    )


@pytest.fixture
def results(small: Recipe) -> Results:
    base = Row(
        method="base", title="Base", validation=Scores(1.0, 0.99), test=Scores(0.98, 0.985), seconds=3.0
    )
    member = Member("pool/000.safetensors", {"epochs": 1}, Scores(1.0, 0.2), loss=0.1, seconds=1.5)
    return Results(
        recipe=small.model_dump(mode="json"),
        forgotten="class 3 of digits",
        images={name: {"forget": 8, "retain": 41} for name in ("train", "validation", "test")},
        data_sha256="0" * 64,
        retain_floor=0.95 * 0.99,
        rows=(
            base,
            row("single", "Best task vector", 0.5, candidates=4),
            row("negmerge", "NegMerge", 0.5),
        ),
        pool=(member, member),
        versions={},
    )


def printed(results: Results, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table(results))
    return out.getvalue()


def cells(text: str, title: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.strip().startswith(title))
    return line.strip().removeprefix(title).split()


def test_table_has_the_numbers_of_every_row(results):
    text = printed(results, 100)
    assert cells(text, "Base") == ["0", "100.0", "99.0", "98.0", "98.5", "–", "1", "3.0"]
    assert cells(text, "NegMerge") == ["0.5", "25.0", "96.0", "37.5", "95.1", "12.5", "56", "12.3"]


def test_table_names_denominators_costs_and_the_spread_of_candidates(results):
    text = " ".join(printed(results, 100).split())
    for said in (
        "94.0 % or more (0.95 × the base's)",
        "of the model's 1,000",
        "8 forget and 41 retain images",
        "pool of 2 fine-tuned checkpoints, which took 3.0 s",
        "Best task vector: pool member 007. Searched alike, the 4 candidates reach forget accuracies of 0.0 "
        "to 75.0 % on validation.",
    ):
        assert said in text
    assert "limit" not in text


def test_comparison_says_in_words_what_the_table_says_of_the_test_split(results):
    assert comparison(results) == (
        "On test, Best task vector forgets as much as NegMerge (37.5 %) and keeps as much. "
        "One image is 12.5 points of forget, 2.4 of retain accuracy."
    )
    base, single, ours = results.rows
    better = replace(single, test=Scores(0.25, 0.9783))
    worse = replace(single, title="Uniform mean", test=Scores(0.5, 0.9))
    assert comparison(replace(results, rows=(base, better, worse, ours))).startswith(
        "On test, Best task vector forgets 12.5 points more than NegMerge (25.0 % against 37.5 %) and keeps "
        "2.7 points more; Uniform mean forgets 12.5 points less than NegMerge (50.0 % against 37.5 %) and "
        "keeps 5.1 points less."
    )
    assert comparison(replace(results, rows=(base, ours))) == ""


def test_table_marks_a_search_that_ended_at_its_limit(results):

    text = printed(
        replace(results, rows=(*results.rows[:2], row("negmerge", "NegMerge", 8, at_limit=True))), 100
    )
    assert cells(text, "NegMerge")[0] == "8+"
    assert "+: the search ended at the recipe's limit" in text


def test_names_in_brackets_are_names(results):
    assert "Forgetting class [red] of pets" in printed(replace(results, forgotten="class [red] of pets"), 100)


def test_table_fits_eighty_columns(results):
    text = printed(results, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert cells(text, "Best task vector") == [
        "0.5",
        "25.0",
        "96.0",
        "37.5",
        "95.1",
        "12.5",
        "56",
        "12.3",
    ]


def test_plot_is_a_png_with_the_methods_in_colour(results, tmp_path: Path):
    draw(results, tmp_path / "plot")
    pixels = matplotlib.image.imread(tmp_path / "plot", format="png")
    height, width, _ = pixels.shape
    assert 600 < height < width < 2500
    colourful = pixels[..., :3].max(axis=2) - pixels[..., :3].min(axis=2) > 0.3
    for half in (colourful[:, : width // 2], colourful[:, width // 2 :]):
        assert half.any()


def test_plot_of_a_run_without_methods_searched_does_not_fail(results, tmp_path: Path):

    draw(replace(results, rows=results.rows[:1]), tmp_path / "plot")
    assert (tmp_path / "plot").stat().st_size > 0


def test_rows_survive_json(results):

    for one in results.rows:
        assert Row.from_dict(json.loads(json.dumps(asdict(one)))) == one
    plain = results.to_dict()
    assert plain["rows"][2]["kept_fraction_of_model_elements"] == 0.125
