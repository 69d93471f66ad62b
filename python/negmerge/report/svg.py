"""Charts as SVG that is part of a page: the page's style sheet gives colours and fonts.

Classes used: ``axis``, ``grid``, ``tick``, ``label``, ``note``, and what a chart gives its own marks. Texts
are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

#: Shapes of marks, drawn around 0; methods are told apart by shape as well as by colour.
SHAPES = (
    "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z",  # circle
    "M-4.5,-4.5H4.5V4.5H-4.5Z",  # square
    "M0,-6L6,0L0,6L-6,0Z",  # diamond
    "M0,-6L5.6,4H-5.6Z",  # triangle
    "M0,6L5.6,-4H-5.6Z",  # triangle, pointing down
    "M-2,-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5V-2H-2Z",  # cross
)
#: The width of lines, as the style sheet has it; and how much wider, and larger, is what lies under another.
_LINE, _WIDER, _LARGER = 2.25, 4.0, 0.75
_TICK_STEPS = (1.0, 2.0, 5.0, 10.0)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most about ``most`` round numbers in the range."""
    span = high - low
    size = 10 ** math.floor(math.log10(span / most))
    step = next((size * one for one in _TICK_STEPS if span / (size * one) <= most), 10 * size)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Range:
    """Of an axis, in its own units."""

    low: float
    high: float


class Chart:
    """Marks in a frame with axes.

    name: unique on the page. size: of the drawing in user units, in which texts are about 13 high. margins:
    left, top, right, bottom.
    """

    def __init__(
        self,
        name: str,
        x: Range,
        y: Range,
        size: tuple[int, int],
        margins: tuple[int, int, int, int] = (56, 14, 16, 52),
    ) -> None:
        self._name = name
        self._x, self._y = x, y
        self._width, self._height = size
        self._left, self._top, right, bottom = margins
        self._right, self._bottom = self._width - right, self._height - bottom
        self._below: list[Markup] = []
        self._inside: list[Markup] = []
        self._above: list[Markup] = []

    def px(self, x: float) -> float:
        share = (x - self._x.low) / (self._x.high - self._x.low)
        return round(self._left + share * (self._right - self._left), 2)

    def py(self, y: float) -> float:
        share = (y - self._y.low) / (self._y.high - self._y.low)
        return round(self._bottom - share * (self._bottom - self._top), 2)

    def x_axis(self, label: str, values: Sequence[float], texts: Sequence[str] | None = None) -> None:
        """Ticks below the frame, and what they are of."""
        for value, text in zip(values, texts or [f"{value:g}" for value in values], strict=True):
            place = self.px(value)
            self._below.append(
                Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                    place, self._bottom + 20, text
                )
            )
        self._below.append(
            Markup('<line class="axis" x1="{0}" y1="{2}" x2="{1}" y2="{2}"/>').format(
                self._left, self._right, self._bottom
            )
        )
        middle = (self._left + self._right) / 2
        self._below.append(
            Markup('<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                middle, self._height - 8, label
            )
        )

    def y_axis(self, label: str, values: Sequence[float]) -> None:
        """Ticks on the left with lines across the frame, and what they are of."""
        for value in values:
            place = self.py(value)
            self._below.append(
                Markup('<line class="grid" x1="{0}" y1="{2}" x2="{1}" y2="{2}"/>').format(
                    self._left, self._right, place
                )
            )
            self._below.append(
                Markup(
                    '<text class="tick" x="{}" y="{}" text-anchor="end" '
                    'dominant-baseline="middle">{:g}</text>'
                ).format(self._left - 8, place, value)
            )
        if label:
            middle = (self._top + self._bottom) / 2
            self._below.append(
                Markup(
                    '<text class="label" transform="translate(14 {}) rotate(-90)" '
                    'text-anchor="middle">{}</text>'
                ).format(middle, label)
            )

    def line(self, points: Sequence[tuple[float, float]], style: str, covered: int = 0) -> None:
        """A line through points, cut off at the frame.

        covered: by so many later ones, which it is wider than.
        """
        path = " ".join(f"{self.px(x)},{self.py(y)}" for x, y in points)
        wider = Markup(' style="stroke-width: {:g}px"').format(_LINE + covered * _WIDER) if covered else ""
        self._inside.append(Markup('<polyline class="{}"{} points="{}"/>').format(style, wider, path))

    def band(self, points: Sequence[tuple[float, float, float]], style: str) -> None:
        """The area between two values at every x, cut off at the frame."""
        upper = [f"{self.px(x)},{self.py(high)}" for x, _, high in points]
        lower = [f"{self.px(x)},{self.py(low)}" for x, low, _ in reversed(points)]
        self._inside.append(
            Markup('<polygon class="{}" points="{}"/>').format(style, " ".join(upper + lower))
        )

    def upright(self, x: float, style: str, text: str = "") -> None:
        """A line from bottom to top, and a text at its upper end."""
        place = self.px(x)
        self._inside.append(
            Markup('<line class="{}" x1="{x}" y1="{}" x2="{x}" y2="{}"/>').format(
                style, self._bottom, self._top, x=place
            )
        )
        if text:
            self._above.append(
                Markup('<text class="note" x="{}" y="{}" text-anchor="end">{}</text>').format(
                    place - 4, self._top + 12, text
                )
            )

    def level(self, y: float, style: str) -> None:
        """A line from left to right."""
        self._inside.append(
            Markup('<line class="{}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
                style, self._left, self._right, y=self.py(y)
            )
        )

    def bar(self, left: float, right: float, top: float, style: str, tip: str) -> None:
        """A bar that stands on 0."""
        x, width = self.px(left), self.px(right) - self.px(left)
        height = self.py(0) - self.py(top)
        self._inside.append(
            Markup(
                '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">'
                "<title>{}</title></rect>"
            ).format(style, x, self.py(top), width, height, tip)
        )

    def mark(self, x: float, y: float, shape: int, style: str, tip: str, covered: int = 0) -> None:
        """A mark with a text that shows when it is pointed at; it may reach over the frame.

        covered: by so many later ones, which it is larger than.
        """
        larger = Markup(" scale({:g})").format(1 + covered * _LARGER) if covered else ""
        self._above.append(
            Markup('<path class="{}" d="{}" transform="translate({} {}){}"><title>{}</title></path>').format(
                style, SHAPES[shape % len(SHAPES)], self.px(x), self.py(y), larger, tip
            )
        )

    def render(self, title: str, description: str) -> Markup:
        """The chart; title and description are for those who do not see it."""
        clip = f"{self._name}-frame"
        frame = Markup('<clipPath id="{}"><rect x="{}" y="{}" width="{}" height="{}"/></clipPath>').format(
            clip, self._left, self._top - 1, self._right - self._left, self._bottom - self._top + 2
        )
        return Markup(
            '<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
            'aria-labelledby="{name}-t {name}-d">'
            '<title id="{name}-t">{title}</title><desc id="{name}-d">{description}</desc>'
            '<defs>{frame}</defs>{below}<g clip-path="url(#{clip})">{inside}</g>{above}</svg>'
        ).format(
            width=self._width,
            height=self._height,
            name=self._name,
            title=title,
            description=description,
            frame=frame,
            clip=clip,
            below=Markup("").join(self._below),
            inside=Markup("").join(self._inside),
            above=Markup("").join(self._above),
        )
