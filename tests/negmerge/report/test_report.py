from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.figure import Figure
from negmerge.errors import DataError
from negmerge.evaluate import Scores
from negmerge.methods import METHODS
from negmerge.published_unlearning import published_of
from negmerge.recipe import Recipe
from negmerge.recipe_file import embedded_recipe
from negmerge.report.grid import Grid
from negmerge.report.looks import COLOURS
from negmerge.report.matched_plot import draw_matched
from negmerge.report.matched_table import matched_table
from negmerge.report.plot import draw
from negmerge.report.published_table import published_table
from negmerge.report.reference_table import reference_table
from negmerge.report.runs import check_comparable, matched_over_runs
from negmerge.report.table import accuracy_table, comparison, cost_table, table
from negmerge.report.terminal import rich_table
from negmerge.results import Results, Row
from negmerge.search import Point
from rich.console import Console
from some_results import CURVE, measures, row, some_results


@pytest.fixture
def results(small: Recipe) -> Results:
    return some_results(small.model_dump(mode="json"))


def printed(results: Results, width: int) -> str:
    return rendered(table(results), width)


def rendered(shown: Grid | None, width: int) -> str:
    assert shown is not None
    out = io.StringIO()
    Console(file=out, width=width).print(rich_table(shown))
    return out.getvalue()


def cells(text: str, title: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.strip().startswith(title))
    return line.strip().removeprefix(title).split()


def test_table_has_the_numbers_of_every_row(results):
    text = printed(results, 100)
    assert cells(text, "Base") == ["0", "98.0", "98.5", "100.0", "99.0", "–", "1", "3.0", "0.0"]
    assert cells(text, "Retrain") == ["–", "0.0", "97.0", "0.0", "98.0", "–", "1", "2.5", "0.2"]
    assert cells(text, "NegMerge") == [
        "0.5",
        "37.5",
        "95.1",
        "25.0",
        "96.0",
        "12.5",
        "56",
        "45.6",
        "12.3",
    ]


def test_table_names_denominators_costs_and_the_spread_of_candidates(results):
    text = " ".join(printed(results, 100).split())
    for said in (
        "94.0 % or more (0.95 × the base's)",
        "of the model's 1,000",
        "8 forget and 41 retain images",
        "pool of 2 fine-tuned checkpoints took 3.0 s",
        "Best task vector: pool member 007. Searched alike, the 4 candidates reach forget accuracies of 0.0 "
        "to 75.0 % on validation.",
    ):
        assert said in text
    assert "limit" not in text


def test_comparison_names_the_method_that_forgot_most_on_test_and_negmerge(results):
    base, _, single, ours = results.rows
    better = replace(single, test=Scores(0.25, 0.9783))
    worse = replace(single, title="Uniform mean", test=Scores(0.5, 0.9))
    assert comparison(replace(results, rows=(base, worse, better, ours))) == (
        "On test, Best task vector forgets most: it is right on 25.0 % of the forget set, and on 97.8 % of "
        "what is retained. NegMerge forgets 12.5 points less (37.5 %) and retains 2.7 points less (95.1 %). "
        "One image is 12.5 points of forget, 2.4 of retain accuracy."
    )
    assert "NegMerge forgets most: " in (said := comparison(replace(results, rows=(base, worse, ours))))
    assert "Uniform mean forgets 12.5 points less (50.0 %) and retains 5.1 points less (90.0 %)." in said
    assert "forgets as much and retains as much." in comparison(results)
    large = replace(results, images={**results.images, "test": {"forget": 4500, "retain": 10_000}})
    assert comparison(large).endswith("One image is 0.02 points of forget, 0.01 of retain accuracy.")
    assert comparison(replace(results, rows=(base, ours))) == ""


def test_comparison_names_the_method_closest_to_retrain_if_that_was_searched_for(results):
    recipe = {**results.recipe, "search": {**results.recipe["search"], "objective": "gap"}}
    base, retrained, single, ours = results.rows
    closer = replace(single, test_measures=measures(0.08))  # 8 points in one of four measures
    assert comparison(replace(results, recipe=recipe, rows=(base, retrained, closer, ours))).startswith(
        "On test, Best task vector comes closest to Retrain, with an average gap of 2.00 points; that of "
        "NegMerge is 7.50. One image"
    )


def test_table_marks_a_search_that_ended_at_its_limit(results):

    text = printed(
        replace(results, rows=(*results.rows[:3], row("negmerge", "NegMerge", 8, at_limit=True))), 100
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
        "37.5",
        "95.1",
        "25.0",
        "96.0",
        "12.5",
        "56",
        "45.6",
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
    derived = plain["rows"][3]["derived"]
    assert derived["kept_fraction_of_model_elements"] == 0.125
    assert derived["average_gap_on_test"] == pytest.approx(0.3 / 4)
    assert derived["matched_retain_on_validation"]["at"] == pytest.approx(derived_by_hand())
    assert plain["rows"][0]["derived"]["matched_retain_on_validation"] is None
    assert Results.from_dict(json.loads(json.dumps(plain))) == results


def derived_by_hand() -> list[float]:
    """On CURVE, whose base retains 0.99: two levels lie before its second point, the last one behind."""
    first, second = (1 - 0.75 * (0.99 - level * 0.99) / 0.03 for level in (0.99, 0.97))
    third = 0.25 - 0.25 * (0.96 - 0.95 * 0.99) / 0.46
    return [first, second, third]


def test_objective_of_the_smallest_gap_is_named_and_has_no_floor(results, tmp_path: Path):
    by_gap = replace(results, retain_floor=None)
    text = " ".join(printed(by_gap, 100).split())
    assert "smallest average gap to Retrain on validation" in text
    assert "or more" not in text
    draw(by_gap, tmp_path / "plot")


def test_published_table_stands_beside_the_same_setting_only(results):
    assert published_table(results) is None
    recipe = embedded_recipe("paper/cifar10-resnet18-random")[0].model_dump(mode="json")
    same = replace(results, recipe=recipe)
    text = rendered(published_table(same), 120)
    assert cells(text, "Retrain") == [
        *("0.00", "94.76", "98.00", "100.00", "96.00", "94.26", "62.50", "12.88", "0.00", "0.00")
    ]
    assert cells(text, "NegMerge") == [
        *("30.00", "–", "98.00", "–", "96.00", "–", "62.50", "–", "7.50", "1.07")
    ]
    assert "Base" not in text
    for key, value in (("width", 16), ("name", "swin_t"), ("pretrained", "my.safetensors")):
        other = {**recipe, "model": {**recipe["model"], key: value}}
        assert published_table(replace(results, recipe=other)) is None
    for part, value in (("forget", {**recipe["forget"], "fraction": 0.5}), ("forget", None)):
        assert published_table(replace(results, recipe={**recipe, part: value})) is None
    alone = replace(same, rows=(results.rows[0], *results.rows[2:]))
    assert published_table(alone) is None


def test_published_gaps_are_those_of_the_published_measures():
    """As far as these are known; the gaps are rounded to two digits."""
    for name in ("resnet18", "vgg16"):
        recipe = embedded_recipe(f"paper/cifar10-{name}-random")[0].model_dump(mode="json")
        rows = published_of(recipe).rows
        aim = rows["retrain"]
        for one in rows.values():
            ours = (one.forget, one.retain, one.held_out, one.mia_efficacy)
            if None not in ours:
                aims = (aim.forget, aim.retain, aim.held_out, aim.mia_efficacy)
                gap = sum(abs(mine - other) for mine, other in zip(ours, aims, strict=True)) / 4
                assert gap == pytest.approx(one.gap, abs=0.00006)


def test_reference_table_compares_every_row_with_retrain(results):
    few = {**results.images, "test": {"forget": 99, "retain": 900}}
    results = replace(results, images={**few, "test": {"forget": 100, "retain": 41}})
    text = rendered(reference_table(results), 80)
    assert "unseen images is not one" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert cells(text, "Base") == ["98.0", "98.0", "96.0", "62.5", "24.50", "0.750", "12.5"]
    assert cells(text, "Retrain") == ["0.0", "98.0", "96.0", "62.5", "0.00", "0.500", "1.0"]
    assert cells(text, "NegMerge") == ["30.0", "98.0", "96.0", "62.5", "7.50", "–", "–"]
    text = rendered(reference_table(replace(results, images=few)), 80)
    assert cells(text, "Base") == ["98.0", "98.0", "96.0", "62.5", "24.50", "0.750", "–"]
    assert "– for TPR: 1 % of the 99 unseen images is not one of them." in text
    # Of single training images, the unseen ones are all of the split's.
    forget = {"classes": None, "fraction": 0.1, "indices": None, "index_file": None}
    at_random = replace(results, images=few, recipe={**results.recipe, "forget": forget})
    assert cells(rendered(reference_table(at_random), 80), "Base")[-1] == "12.5"


def test_accuracies_of_the_page_begin_with_test_and_say_how_certain_validation_is(results):
    grid = accuracy_table(results)
    names = [" ".join(heading.split()) for heading in grid.headings]
    assert names[1:6] == ["Forget test", "Retain test", "Of base %", "Forget val.", "Retain val."]
    assert [row[4] for row in grid.rows] == ["100.0", "98.5", "96.6", "96.6"], "of 98.5 %"
    notes = " ".join(grid.notes)
    # √(0.25 · 0.75 / 8) and √(0.96 · 0.04 / 41)
    assert "15.3 points (forget) and 3.1 (retain) for NegMerge on validation" in notes
    assert "Validation, by which is chosen, has 8 forget and 41 retain images" in notes
    assert "Only that on validation must keep the floor" in notes
    by_gap = " ".join(accuracy_table(replace(results, retain_floor=None)).notes)
    assert "floor" not in by_gap


def test_methods_that_keep_exact_zeros_are_named_beside_those_that_do_not(results):
    said = (
        "(1.0 % of the model), are kept by Best task vector, by the methods' own definitions, and not by "
        "NegMerge"
    )
    assert said in " ".join(accuracy_table(results).notes)
    alone = replace(results, rows=(results.rows[0], results.rows[3]))
    assert "Exact zeros" not in " ".join(accuracy_table(alone).notes)


def test_without_retrain_there_is_nothing_to_compare_with(results):
    alone = replace(results, rows=(results.rows[0], *results.rows[2:]))
    assert reference_table(alone) is None
    assert alone.average_gap(alone.rows[0]) is None
    unmeasured = replace(results, rows=tuple(replace(one, test_measures=None) for one in results.rows))
    assert reference_table(unmeasured) is None


def run_of(results: Results, seed: int, forget: float) -> Results:
    """Another seed of the same recipe, whose last method has a curve that goes down to ``forget``."""
    curve = (CURVE[0], Point(0.5, forget, 0.95 * 0.99), CURVE[2])
    rows = (*results.rows[:-1], replace(results.rows[-1], curve=curve))
    recipe = {**results.recipe, "name": f"seed{seed}", "seed": seed}
    return replace(results, rows=rows, recipe=recipe)


def test_matched_table_of_one_run(results):
    text = rendered(matched_table([results]), 80)
    shown = [f"{100 * value:.1f}" for value in derived_by_hand()]
    assert cells(text, "NegMerge")[:3] == shown
    assert cells(text, "NegMerge")[4:] == ["7.50", "57.9"]
    assert cells(text, "Retrain")[:3] == ["–", "0.0", "0.0"], "one model, which retains 98 / 99 of the base's"


def test_memory_of_a_gpu_is_shown_where_there_was_one(results):
    assert "GPU" not in " ".join(cost_table(results).headings)
    base, *rows = results.rows
    rows = [replace(one, peak_device_memory=1536 << 20) for one in rows]
    grid = cost_table(replace(results, rows=(base, *rows)))
    assert [line[-1] for line in grid.rows] == ["–", *["1,536"] * len(rows)]
    assert grid.headings[-1] == "GPU\nMiB"
    assert grid.notes[-1].startswith("GPU: the most that tensors took")


def test_matched_table_over_seeds_has_means_and_deviations(results):
    runs = [run_of(results, seed, forget) for seed, forget in enumerate((0.1, 0.2, 0.6))]
    check_comparable(runs)
    text = rendered(matched_table(runs), 110)
    assert "30.0 ± 26.5" in text
    assert "over 3 runs" in " ".join(text.split())


def test_a_level_that_one_run_does_not_reach_has_no_mean(results):
    low = run_of(results, 1, 0.1)
    base = replace(low.rows[0], validation=Scores(1.0, 1.2))  # its curves end below 95 % of that
    method = matched_over_runs([results, replace(low, rows=(base, *low.rows[1:]))])[-1]
    assert method.at == (None, None, None)
    assert method.gap is not None


def test_a_run_from_before_a_key_of_recipes_has_its_default(results):
    later = run_of(results, 1, 0.1)
    pool = {key: value for key, value in results.recipe["pool"].items() if key != "linearised"}
    earlier = replace(results, recipe={**results.recipe, "pool": pool})
    check_comparable([earlier, later])
    changed = {**later.recipe, "pool": {**later.recipe["pool"], "linearised": True}}
    with pytest.raises(DataError, match="differ in pool"):
        check_comparable([earlier, replace(later, recipe=changed)])


def test_only_seeds_of_one_recipe_are_averaged(results):
    with pytest.raises(DataError, match="two runs have seed 0"):
        check_comparable([results, results])
    other = run_of(results, 1, 0.1)
    changed = {**other.recipe, "data": {**other.recipe["data"], "test": 0.5}}
    with pytest.raises(DataError, match="differ in data"):
        check_comparable([results, replace(other, recipe=changed)])


def test_matched_plot_runs_as_the_page_does_and_names_the_envelope(results, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    draw_matched([results], tmp_path / "plot")
    (axes,) = figures[0].axes
    assert axes.get_xlim() == (95, 100)
    assert "lower envelope" in axes.get_title()
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["NegMerge"].get_color() == COLOURS[METHODS.names.index("negmerge")]
    assert lines["Best task vector"].get_linewidth() > 2 * lines["NegMerge"].get_linewidth(), "they coincide"


def test_methods_have_their_colours_in_the_plot_too(results, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    base, _, single, ours = results.rows
    draw(replace(results, rows=(base, ours, single)), tmp_path / "plot")
    draw(replace(results, rows=(base, ours)), tmp_path / "plot")
    for figure in figures:
        legend = figure.axes[0].get_legend()
        shown = {
            text.get_text(): handle.get_color()
            for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }
        assert shown["NegMerge"] == COLOURS[METHODS.names.index("negmerge")]


@pytest.mark.parametrize("count", [1, 3])
def test_matched_plot_shows_every_method_and_the_spread(results, tmp_path: Path, count):
    draw_matched([run_of(results, seed, 0.1 + 0.1 * seed) for seed in range(count)], tmp_path / "plot")
    pixels = matplotlib.image.imread(tmp_path / "plot", format="png")[..., :3]
    assert (pixels.max(axis=2) - pixels.min(axis=2) > 0.3).any()
