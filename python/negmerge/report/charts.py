"""The charts of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..agreement import Agreement
from ..chance import by_chance
from ..metrics.matched_retain import LEVELS
from ..results import Results, Row
from .cells import percent
from .looks import COLOURS, covers, places
from .runs import MethodOverRuns, envelope
from .svg import SHAPES, Chart, Range, ticks

_SIZE = (600, 400)
_SMALL = (340, 250)
#: The retain accuracies shown begin at this share of the base's, or just below what was chosen.
_FROM = 0.90
_MARGIN = 0.012
_MOST_BARS = 40
_COVERED = "A wide line or a large mark under a smaller one: these methods have the same values there."


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart; key: what its marks stand for, in the legend below it."""

    chart: Markup
    caption: str
    key: tuple[tuple[Markup, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Style:
    """How a method looks: a colour's class and a shape."""

    colour: str
    shape: int


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """One for every method, the same in every report; the base is black.

    With more methods than colours these come again, with other shapes.
    """
    return {
        method: Style(f"s{place % len(COLOURS) + 1}", place) for method, place in places(methods).items()
    } | {"base": Style("s0", 1)}


def forget_against_retain(results: Results) -> Drawn | None:
    """Curves of all methods on validation: retain accuracy as a share of the base's, forget accuracy.

    ``None`` for a base that has not one image to be retained right: nothing is a share of that.
    """
    base = results.rows[0].validation.retain
    if not base:
        return None
    looks = styles([row.method for row in results.rows])
    shares = [row.validation.retain / base for row in results.rows]
    low = max(0.0, min(_FROM, min(shares) - _MARGIN))
    high = max(1.0, *shares) + _MARGIN
    chart = _frame("curves", low, high)
    for level in LEVELS:
        chart.upright(100 * level, "level")
    if results.retain_floor is not None:
        chart.upright(100 * results.retain_floor / base, "floor", "retain floor")
    curves = [
        (row, [(100 * retain / base, 100 * forget) for forget, retain in curve])
        for row in results.rows
        for curve in row.curves
        if len(curve) > 1
    ]
    line_covers = covers([points for _, points in curves])
    for (row, points), covered in zip(curves, line_covers, strict=True):
        chart.line(points, f"curve {looks[row.method].colour}", covered)
    chosen = [(100 * row.validation.retain / base, 100 * row.validation.forget) for row in results.rows]
    mark_covers = covers([[point] for point in chosen])
    for row, (x, y), covered in zip(results.rows, chosen, mark_covers, strict=True):
        look, scores = looks[row.method], row.validation
        chart.mark(
            x,
            y,
            look.shape,
            f"mark {look.colour}",
            f"{row.title}: forget {percent(scores.forget)} %, retain {percent(scores.retain)} %",
            covered,
        )
    said = "; ".join(
        f"{row.title}: forget {percent(row.validation.forget)} % at retain {percent(row.validation.retain)} %"
        for row in results.rows
    )
    return Drawn(
        chart.render("Forget accuracy against retain accuracy on validation", said),
        "Every method along its coefficient, on validation; lower and further right is better. Marks are the "
        "chosen models. Dotted lines are the levels at which the table below compares."
        + _said_covered(line_covers + mark_covers),
        _key((row.method, row.title) for row in results.rows),
    )


def matched_over_seeds(runs: Sequence[Results], methods: Sequence[MethodOverRuns]) -> Drawn:
    """The lowest forget accuracy at every retain accuracy, mean and deviation over several runs."""
    looks = styles([method.method for method in methods])
    chart = _frame("curves", min(LEVELS) - _MARGIN / 2, 1 + _MARGIN / 2)
    for level in LEVELS:
        chart.upright(100 * level, "level")
    said = []
    reached = [
        (method, points)
        for method in methods
        if (points := [point for point in envelope(runs, method.method) if point is not None])
    ]
    lines = [[(100 * x, 100 * mean) for x, mean, _ in points] for _, points in reached]
    line_covers = covers(lines)
    for (method, points), line, covered in zip(reached, lines, line_covers, strict=True):
        look = looks[method.method]
        chart.band(
            [(100 * x, 100 * (mean - std), 100 * (mean + std)) for x, mean, std in points],
            f"band {look.colour}",
        )
        chart.line(line, f"curve {look.colour}", covered)
        for place in (0, len(points) - 1):
            x, mean, std = points[place]
            tip = f"{method.title}: {percent(mean)} ± {percent(std)} % at {percent(x)} % of the base's"
            chart.mark(*line[place], look.shape, f"mark {look.colour}", tip, covered)
            said.append(tip)
    return Drawn(
        chart.render("Lowest forget accuracy at equal retain accuracy on validation", "; ".join(said)),
        "Lower is better. Lines are lower envelopes: the lowest forget accuracy of a method at this "
        f"retain accuracy or more, whatever the coefficient; mean over {len(runs)} runs. Bands are one "
        "sample standard deviation on both sides. A line ends where a run does not retain as much."
        + _said_covered(line_covers),
        _key((method.method, method.title) for method in methods),
    )


def against_coefficient(results: Results) -> list[tuple[str, Drawn]]:
    """A small chart per method that has a coefficient: both accuracies, as far as it was searched."""
    looks = styles([row.method for row in results.rows])
    searched = [row for row in results.rows if row.coefficient is not None and len(row.curve) > 1]
    return [(row.title, _along_coefficient(row, looks[row.method], results)) for row in searched]


def sign_agreement(agreement: Agreement) -> Drawn | None:
    """How many elements have how many models in their larger sign camp; ``None`` if that is not known."""
    histogram, models = agreement.histogram, agreement.models
    if histogram is None or not agreement.elements:
        return None
    shares = [100 * count / agreement.elements for count in histogram]
    chance = [100 * share for share in by_chance(models).tolist()]
    smallest = (models + 1) // 2  # of the larger camp, unless task vectors have zeros or NaN
    width = math.ceil((models - smallest + 1) / _MOST_BARS)
    bins = [(max(end - width + 1, 0), end) for end in range(models, smallest - 1, -width)][::-1]
    heights = [sum(shares[first : last + 1]) for first, last in bins]
    expected = [sum(chance[first : last + 1]) for first, last in bins]
    fewer = sum(shares[: bins[0][0]])
    top = 1.08 * max(*heights, *expected, fewer, 1e-9)
    left = bins[0][0] - 0.5 - (1.4 * width if fewer else 0.2)
    chart = Chart("agreement", Range(left, models + 0.7), Range(0, top), (600, 320))
    chart.y_axis("merged elements (%)", ticks(0, top, 5))
    labelled = ticks(bins[0][0], models, 8)
    whole = [tick for tick in labelled if tick == int(tick) and bins[0][0] <= tick <= models]
    texts = [f"{tick:g}" for tick in whole]
    if fewer:
        chart.bar(left + 0.1, left + width, fewer, "bar few", f"fewer than {bins[0][0]}: {fewer:.2f} %")
    chart.x_axis("models in the larger sign camp", whole, texts)
    for (first, last), height in zip(bins, heights, strict=True):
        which = f"{last} of {models}" if first == last else f"{first} to {last} of {models}"
        style = "bar all" if first == last == models else "bar"
        chart.bar(first - 0.45, last + 0.45, height, style, f"{which} models: {height:.2f} % of the elements")
    chart.line(
        [((first + last) / 2, share) for (first, last), share in zip(bins, expected, strict=True)], "chance"
    )
    unanimous = shares[models]
    said = f"All {models} models agree on {unanimous:.1f} % of {agreement.elements:,} merged elements."
    key = [
        (Markup('<span class="swatch bar all"></span>'), f"all {models} models agree: {unanimous:.1f} %"),
        (Markup('<span class="swatch bar"></span>'), "the larger camp is smaller"),
        (Markup('<span class="swatch chance"></span>'), "if signs were random and independent"),
    ]
    if fewer:
        key.append(
            (Markup('<span class="swatch bar few"></span>'), f"fewer than half: zeros or NaN, {fewer:.1f} %")
        )
    return Drawn(
        chart.render("Sign agreement of the task vectors", said),
        f"Of {agreement.elements:,} merged elements, those with so many of {models} models in the larger "
        "sign camp. Exact zeros, as frozen parameters have them, are in neither camp.",
        tuple(key),
    )


def _said_covered(covered: Sequence[int]) -> str:
    return f" {_COVERED}" if any(covered) else ""


def _along_coefficient(row: Row, look: Style, results: Results) -> Drawn:
    most = max(point.coefficient for point in row.curve)
    chart = Chart(f"coefficient-{row.method}", Range(0, most), Range(0, 100), _SMALL, (44, 12, 14, 48))
    chart.y_axis("", [0, 25, 50, 75, 100])
    chart.x_axis("coefficient λ", ticks(0, most, 5))
    if results.retain_floor is not None:
        chart.level(100 * results.retain_floor, "floor")
    assert row.coefficient is not None, "it was searched"
    chart.upright(row.coefficient, "level")
    for part in ("retain", "forget"):
        points = [(point.coefficient, 100 * getattr(point, part)) for point in row.curve]
        chart.line(points, f"curve {part} {look.colour}")
        score = getattr(row.validation, part)
        chart.mark(
            row.coefficient,
            100 * score,
            look.shape,
            f"mark {look.colour}",
            f"{part} {percent(score)} % at λ = {row.coefficient:.4g}",
        )
    said = (
        f"Chosen: λ = {row.coefficient:.4g}, forget {percent(row.validation.forget)} %, "
        f"retain {percent(row.validation.retain)} %."
    )
    return Drawn(chart.render(f"{row.title}: accuracy against the coefficient", said), said)


def _frame(name: str, low: float, high: float) -> Chart:
    """Retain accuracy as a share of the base's to the right, forget accuracy upwards."""
    chart = Chart(name, Range(100 * low, 100 * high), Range(-2, 103), _SIZE)
    chart.y_axis("forget accuracy (%)", [0, 20, 40, 60, 80, 100])
    chart.x_axis("retain accuracy (% of the base's)", ticks(100 * low, 100 * high, 7))
    return chart


def _key(methods: Iterable[tuple[str, str]]) -> tuple[tuple[Markup, str], ...]:
    titles = dict(methods)
    looks = styles(list(titles))
    return tuple((_swatch(looks[method]), title) for method, title in titles.items())


def _swatch(look: Style) -> Markup:
    return Markup(
        '<svg class="swatch" viewBox="-8 -8 16 16" aria-hidden="true"><path class="mark {}" d="{}"/></svg>'
    ).format(look.colour, SHAPES[look.shape % len(SHAPES)])
