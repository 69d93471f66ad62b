"""Numbers and names as people read them."""

from __future__ import annotations


def size(nbytes: float) -> str:
    """Bytes in binary units: ``size(3 << 20)`` is "3.0 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(nbytes) < 1024:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} TiB"


def printable(text: str) -> str:
    """``text`` with control characters shown as escapes: names in files must not drive the terminal."""
    return "".join(one if one.isprintable() or one == "\n" else _escape(one) for one in text)


def name(text: str, longest: int) -> str:
    """A name on one line, printable, and shortened in the middle to ``longest`` characters."""
    text = printable(text).replace("\n", _escape("\n"))
    if len(text) <= longest:
        return text
    tail = longest // 2
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def count(number: int, noun: str = "") -> str:
    """A count with thousands separated, and its noun in the plural where it belongs."""
    text = f"{number:,}"
    if not noun:
        return text
    return f"{text} {noun}" if number == 1 else f"{text} {noun}s"


def percent(fraction: float) -> str:
    """A fraction as "12.34 %"."""
    return f"{100 * fraction:.2f} %"


def seconds(duration: float) -> str:
    """A duration as "0.42 s", "12.3 s" or "3 min 07 s"."""
    if duration < 10:
        return f"{duration:.2f} s"
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest:02d} s"
