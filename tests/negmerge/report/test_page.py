"""The page: structure, numbers, nothing from elsewhere, nothing unescaped."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from negmerge.console import Reporter
from negmerge.evaluate import Scores
from negmerge.origin import Machine, Origin
from negmerge.pipeline import run
from negmerge.recipe import Recipe
from negmerge.recipe_file import parse_recipe
from negmerge.report import looks
from negmerge.report.charts import against_coefficient
from negmerge.report.looks import COLOURS, covers
from negmerge.report.matched_plot import draw_matched
from negmerge.report.page import comparison_markdown, comparison_page, run_markdown, run_page
from negmerge.report.plot import draw
from negmerge.report.written import write_comparison, write_report
from negmerge.results import Results
from negmerge.run_folder import RunFolder
from negmerge.saliency import Saliency, SeenImage, read_saliency
from negmerge.saved_results import read_results
from negmerge.search import Point
from page_reader import Page
from some_results import some_results

RECIPE = "name: small  # <b>my</b> recipe\n"


@pytest.fixture
def results(small: Recipe) -> Results:
    return some_results(small.model_dump(mode="json"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_text: str) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("finished")
    return root, run(parse_recipe(small_text, "recipe"), small_text, root, Reporter(quiet=True))


def page_of(results: Results, saliency: Saliency | None = None) -> Page:
    return Page(run_page(results, RECIPE, saliency))


def check_structure(page: Page) -> None:
    assert all(url.startswith("data:image/") for url in page.urls)
    assert "script" not in page.tags
    assert "link" not in page.tags
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    assert all(image["alt"] for image in page.images)


def test_a_base_that_retains_nothing_has_no_chart_and_its_numbers_all_the_same(results, tmp_path):
    base, *others = results.rows
    ruined = replace(base, validation=replace(base.validation, retain=0.0))
    results = replace(results, rows=(ruined, *others), retain_floor=0.0)
    page = page_of(results)
    check_structure(page)
    assert "the base has no image to be retained right" in page.text
    assert results.matched(results.rows[-1]).at == (0.0, 0.0, 0.0), "everything retains as much"
    run_markdown(results, RECIPE)
    draw(results, tmp_path / "plot.png")
    draw_matched([results], tmp_path / "matched.png")
    check_structure(Page(comparison_page([results], RECIPE)))


def test_page_of_a_run_stands_alone_and_is_in_order(finished):
    root, results = finished
    html = (root / "report.html").read_text()
    page = Page(html)
    check_structure(page)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org)", html.split("<pre")[0])
    assert page.headings[0] == (1, f"Forgetting {results.forgotten}")
    for heading in ("Methods", "Along the coefficient", "Where the pool agrees", "Cost", "Provenance"):
        assert (2, heading) in page.headings
    assert len(html) < 2_000_000


def test_numbers_of_the_page_are_those_of_the_json(finished):
    root, _ = finished
    plain: dict[str, Any] = json.loads((root / "results.json").read_text())
    page = Page((root / "report.html").read_text())
    tables = {caption: dict(page.rows(caption)) for caption in page.tables}
    accuracies = tables["Accuracy of the chosen models, in %"]
    costs = tables["Cost of every method"]
    matched = tables["Forget accuracy in % at equal retain accuracy"]
    references = tables["Compared with Retrain, in %"]
    assert [*accuracies] == [row["title"] for row in plain["rows"]]
    for row in plain["rows"]:
        shown = accuracies[row["title"]]
        for split, short in (("validation", "val."), ("test", "test")):
            for part in ("forget", "retain"):
                assert shown[f"{part.title()} {short}"] == f"{100 * row[split][part]:.1f}"
        assert costs[row["title"]]["Tries"] == str(row["evaluations"])
        assert costs[row["title"]]["Train s"] == f"{row['training_seconds']:.1f}"
        assert costs[row["title"]]["Peak MiB"] == (
            "–" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**20:,.0f}"
        )
        assert references[row["title"]]["Avg. gap"] == f"{100 * row['derived']['average_gap_on_test']:.2f}"
        assert row["title"] in page.text
    for row in plain["rows"][1:]:
        values = row["derived"]["matched_retain_on_validation"]["at"]
        expected = ["–" if value is None else f"{100 * value:.1f}" for value in values]
        assert [matched[row["title"]][level] for level in ("99 %", "97 %", "95 %")] == expected
    kept = sum(tensor["kept"] for tensor in plain["agreement"]["tensors"])
    elements = sum(tensor["elements"] for tensor in plain["agreement"]["tensors"])
    layers = tables["Sign agreement by layer"]
    assert layers["All merged layers"] == {
        "Elements": f"{elements:,}",
        "Kept %": f"{100 * kept / elements:.2f}",
        "Agree %": layers["All merged layers"]["Agree %"],
    }
    assert plain["data_sha256"]
    for label, sha256 in plain["data_sha256"].items():
        assert f"SHA-256 of {label}" in page.text
        assert sha256 in page.text
    members = tables[f"The pool of {len(plain['pool'])} fine-tunings"]
    assert [row["learning rate"] for row in members.values()] == ["0.001", "0.003", "0.01"]


def test_report_needs_only_what_the_run_recorded(finished, tmp_path):
    root, _ = finished
    bare = tmp_path / "bare"
    shutil.copytree(root, bare)
    before = (bare / "report.html").read_bytes(), (bare / "report.md").read_bytes()
    for name in ("pool", "merged", "patches", "trained"):
        shutil.rmtree(bare / name)
    (bare / "base.safetensors").unlink()
    files = write_report(RunFolder(bare), read_results(bare))
    assert [path.name for path in files] == ["report.html", "report.md"]
    assert ((bare / "report.html").read_bytes(), (bare / "report.md").read_bytes()) == before


def test_grad_cam_shows_every_model_on_images_of_both_sets(finished):
    root, results = finished
    saliency = read_saliency(RunFolder(root))
    assert saliency.layer == "features"
    assert saliency.models == tuple(row.title for row in results.rows)
    assert [image.part for image in saliency.images] == ["forget"] * 3 + ["retain"] * 3
    assert {image.label for image in saliency.images[:3]} == {"3"}
    assert all(image.predictions[0] == image.label for image in saliency.images), "the base has them right"
    assert saliency.maps.shape[:2] == (len(results.rows), 6)
    assert torch.equal(saliency.maps.amax(dim=(0, 2, 3)), torch.ones(6)), "one scale for all models"
    page = Page((root / "report.html").read_text())
    assert len(page.images) == 6 * (1 + len(results.rows))
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.images)


def test_names_are_escaped(results):
    evil = '<script>alert("x")</script>'
    rows = (*results.rows[:-1], replace(results.rows[-1], title=evil))
    saliency = Saliency(
        models=(evil,),
        layer=evil,
        missing=None,
        images=(SeenImage("forget", evil, (evil,)),),
        pixels=torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        maps=torch.zeros(1, 1, 2, 2),
    )
    page = page_of(replace(results, forgotten=evil, rows=rows), saliency)
    check_structure(page)
    assert "script" not in page.tags
    assert page.text.count(evil) > 5
    assert "<b>my</b>" in page.text, "of the recipe"


def test_curves_end_where_the_numbers_are(results):
    """The mark of a chosen model lies on its curve, where the axes' ticks say."""
    html = run_page(results, RECIPE, None)
    chart = html[html.index('<svg class="chart" viewBox="0 0 600 400"') :].split("</svg>")[0]
    ticks = {
        text: float(y)
        for y, text in re.findall(
            r'<text class="tick" x="[\d.]+" y="([\d.]+)"[^>]*dominant[^>]*>(\d+)<', chart
        )
    }
    zero, hundred = ticks["0"], ticks["100"]
    for row in results.rows:
        (y,) = re.findall(rf'translate\([\d.]+ ([\d.]+)\)[^"]*"><title>{row.title}:', chart)
        expected = zero + (hundred - zero) * row.validation.forget
        assert float(y) == pytest.approx(expected, abs=0.02)


def test_a_run_without_retrain_agreement_or_maps_says_so(results):
    bare = replace(results, rows=(results.rows[0], results.rows[3]), agreement=None, pool_kept=False)
    page = page_of(bare)
    check_structure(page)
    assert "Compared with Retrain, in %" not in page.tables
    assert "Not known: the pool was merged as it was trained" in page.text
    assert "Not recorded" in page.text
    missing = Saliency((), "", "the model ends in tokens", (), torch.empty(0), torch.empty(0))
    assert "No Grad-CAM of these models: the model ends in tokens." in page_of(bare, missing).text


def test_a_run_of_nothing_but_a_base_has_a_page(results):
    check_structure(page_of(replace(results, rows=results.rows[:1], pool=())))


def test_many_methods_all_have_a_look_of_their_own(results):
    rows = [replace(results.rows[3], method=f"m{n}", title=f"Method {n}") for n in range(12)]
    html = run_page(replace(results, rows=(results.rows[0], *rows)), RECIPE, None)
    key = re.findall(r'<li><svg class="swatch".*?class="mark (s\d+)" d="([^"]+)"', html)
    assert len(key) == len(set(key)) == 13


def key_of(html: str) -> dict[str, tuple[str, str]]:
    """Colour and shape of every method in the first legend."""
    legend = html[html.index('<ul class="key">') :].split("</ul>")[0]
    found = re.findall(r'class="mark (s\d+)" d="([^"]+)"/></svg> ([^<]+)</li>', legend)
    return {title: (colour, shape) for colour, shape, title in found}


def test_a_method_looks_the_same_whatever_stands_beside_it(results):
    base, retrained, single, ours = results.rows
    other = replace(single, method="other", title="Other")
    keys = [
        key_of(run_page(replace(results, rows=(base, *rows)), RECIPE, None))
        for rows in ((ours,), (retrained, single, ours), (ours, other, single, retrained))
    ]
    assert [len(key) for key in keys] == [2, 4, 5]
    assert len({key["NegMerge"] for key in keys}) == 1
    assert keys[1].items() <= keys[2].items()
    assert len({colour for colour, _ in keys[2].values()}) == 5, "the other has a colour of its own"
    assert keys[1] == {
        "Base": keys[1]["Base"],
        **key_of(comparison_page([replace(results, rows=(base, ours, retrained, single))], RECIPE)),
    }


def test_colours_of_the_page_are_those_of_the_plots():
    css = (Path(looks.__file__).parent / "templates" / "style.css").read_text()
    light, _, printed = (block.split("}")[0] for block in css.split(":root {")[1:])
    for block in (light, printed):
        found = dict(re.findall(r"--s(\d+): (#\w+);", block))
        assert [found[str(number + 1)] for number in range(len(COLOURS))] == list(COLOURS)
    for number in range(1, len(COLOURS) + 1):
        assert f".curve.s{number} {{" in css
        assert f".mark.s{number}, .band.s{number} {{" in css


def test_of_lines_that_coincide_the_first_is_wider(results):
    """Best task vector and NegMerge have the same curve; Retrain is one model."""
    html = run_page(results, RECIPE, None)
    chart = html[html.index('<svg class="chart" viewBox="0 0 600 400"') :].split("</svg>")[0]
    lines = re.findall(r'<polyline class="curve (s\d+)"([^>]*?) points="([^"]+)"', chart)
    assert len(lines) == 2
    (first, wider, under), (second, plain, over) = lines
    assert first != second
    assert under == over
    assert (float(re.search(r"stroke-width: ([\d.]+)px", wider)[1]), plain) == (6.25, "")
    assert len(re.findall(r"scale\(", chart)) == 1, "the mark below is larger, too"
    assert "these methods have the same values there" in Page(html).text
    apart = replace(results, rows=results.rows[:3])
    assert "these methods have the same values there" not in page_of(apart).text


def test_lines_are_covered_by_later_ones_that_have_most_of_their_points():
    first, second = [(0.0, 1.0), (0.5, 0.25), (1.0, 0.0)], [(0.0, 1.0), (0.5, 0.5), (1.0, 0.1)]
    assert covers([first, second, first, first]) == [2, 0, 1, 0]
    assert covers([first, [*first, (2.0, 0.0)]]) == [1, 0]
    assert covers([first[:2], second]) == [0, 0], "all begin at the base"


def test_charts_along_the_coefficient_end_where_their_searches_do(results):
    base, _, single, ours = results.rows
    longer = replace(ours, curve=(*ours.curve, Point(8.0, 0.0, 0.1)))
    drawn = dict(against_coefficient(replace(results, rows=(base, single, longer))))
    for title, most in (("Best task vector", "1"), ("NegMerge", "8")):
        texts = re.findall(r'text-anchor="middle">([\d.]+)</text>', drawn[title].chart)
        assert texts[-1] == most


def markdown_tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in blocks
    ]


def test_markdown_has_the_same_tables(results):
    text = run_markdown(results, RECIPE)
    page = page_of(results)
    tables = markdown_tables(text)
    assert len(tables) == len(page.tables)
    for written, shown in zip(tables, page.tables.values(), strict=True):
        assert written[1][0] == "---"
        assert [written[0], *written[2:]] == shown


@pytest.fixture
def seeds(results: Results) -> list[Results]:
    return [
        replace(results, recipe={**results.recipe, "name": f"seed{seed}", "seed": seed}) for seed in range(3)
    ]


def test_page_of_several_runs_has_means_and_deviations(seeds):
    page = Page(comparison_page(seeds, RECIPE))
    check_structure(page)
    rows = dict(page.rows("Chosen models on the test split, in %"))
    assert rows["NegMerge"]["Forget test"] == "37.5 ± 0.0"
    assert [name for name, _ in page.rows("The runs")] == ["seed0", "seed1", "seed2"]
    assert "0, 1, 2" in page.text
    assert [row[0] for row in markdown_tables(comparison_markdown(seeds, RECIPE))[0][2:]] == [
        "Retrain",
        "Best task vector",
        "NegMerge",
    ]


CLIP = {"name": "clip/efficientnet_lite0", "width": None, "pretrained": None, "image_size": 48}


def said_of(seeds: list[Results], **changed: Any) -> str:
    """The sentence of page and Markdown on runs whose recipes have these parts, too."""
    runs = [replace(one, recipe={**one.recipe, **changed}) for one in seeds]
    (said,) = re.findall(r"^3 methods over .*", comparison_markdown(runs, RECIPE), re.MULTILINE)
    assert said in Page(comparison_page(runs, RECIPE)).text
    return said


def test_comparison_says_what_the_seeds_change_by_the_recipe(seeds):
    data = seeds[0].recipe["data"]
    drawn, fixed = ({**data, "validation": 0.25, "split_seed": seed} for seed in (None, 0))
    assert said_of(seeds, data=drawn) == (
        "3 methods over 3 seeds, each with its own base, splits of the data and pool of 2."
    )
    assert said_of(seeds, data=fixed, model=CLIP) == (
        "3 methods over 3 seeds, each with its own pool of 2; all have the same base and splits of the data."
    )
    at_random = {"classes": None, "fraction": 0.1, "indices": None, "index_file": None}
    assert said_of(seeds, data={**data, "validation": "paper"}, forget=at_random) == (
        "3 methods over 3 seeds, each with its own base, forget set and pool of 2; all have the same splits "
        "of the data."
    )


def test_comparison_says_what_the_seeds_change_by_what_runs_recorded(seeds):
    same = [replace(one, base_sha256="0" * 64, split_keys={"digits": "1"}) for one in seeds]
    assert said_of(same).endswith("own pool of 2; all have the same base and splits of the data.")
    other = [*same[:2], replace(same[2], base_sha256="2" * 64, split_keys={"digits": "2"})]
    assert said_of(other, model=CLIP).endswith("own base, splits of the data and pool of 2.")


def test_the_best_method_stands_beside_negmerge_at_the_top(results):
    *others, single, ours = results.rows
    better = replace(single, test=Scores(0.125, 0.9))
    found = [
        text
        for _, text in page_of(replace(results, rows=(*others, better, ours))).headings
        if text.startswith("Base →")
    ]
    assert found == ["Base → NegMerge λ = 0.5", "Base → Best task vector, the best on test λ = 0.5"]
    worse = replace(single, test=Scores(0.5, 0.9))
    tops = [text for _, text in page_of(replace(results, rows=(*others, worse, ours))).headings]
    assert [text for text in tops if text.startswith("Base →")] == ["Base → NegMerge λ = 0.5"]


def test_provenance_says_when_and_on_what_as_far_as_that_is_known(results):
    machine = Machine("Some CPU", cores=8, threads=2, gpus=("Some GPU",))
    origin = Origin("2026-01-02T03:04:05+00:00", "2026-01-02T05:06:07+00:00", (machine,))
    text = run_markdown(replace(results, origin=origin, base_sha256="5" * 64), RECIPE)
    for line in (
        "Computed: 2026-01-02 03:04 to 2026-01-02 05:06 UTC",
        "CPU: Some CPU, 8 cores, 2 threads",
        "GPU: Some GPU",
        f"SHA-256 of the base: {'5' * 64}",
    ):
        assert f"\n* {line}\n" in text
    plain = json.loads(json.dumps(replace(results, origin=origin).to_dict()))
    assert Results.from_dict(plain).origin == origin
    older = {key: value for key, value in plain.items() if key not in ("origin", "base_sha256", "split_keys")}
    text = run_markdown(Results.from_dict(older), RECIPE)
    assert "Computed:" not in text
    assert "GPU:" not in text
    assert "None" not in text.split("## Provenance")[1]
    assert "of seed 0 the base, or when and where, is not recorded" in text


def test_maps_say_their_resolution(results):
    saliency = Saliency(
        models=("Base",),
        layer="last",
        missing=None,
        images=(SeenImage("forget", "3", ("3",)),),
        pixels=torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        maps=torch.zeros(1, 1, 2, 3),
    )
    assert "2 × 3 maps of the output of last" in page_of(results, saliency).text


def test_comparison_is_written_as_page_markdown_and_json(seeds, tmp_path):
    folders = [RunFolder(tmp_path / f"seed{seed}") for seed in range(3)]
    files = write_comparison(folders, seeds, tmp_path / "out")
    assert [path.name for path in files] == ["report.html", "report.md", "report.json"]
    plain = json.loads(files[2].read_text())
    assert plain["methods"][-1]["test_forget"] == {"mean": 0.375, "std": 0.0, "runs": 3}
