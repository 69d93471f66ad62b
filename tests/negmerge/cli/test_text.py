import pytest
from negmerge.cli import text


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 20, "3.0 MiB"),
        (1536 << 20, "1.5 GiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_size(nbytes, expected):
    assert text.size(nbytes) == expected


@pytest.mark.parametrize(("number", "expected"), [(0, "0 models"), (1, "1 model"), (12345, "12,345 models")])
def test_count_has_its_noun_in_the_right_number(number, expected):
    assert text.count(number, "model") == expected


def test_printable_shows_what_is_not_and_keeps_lines():
    assert text.printable("a\x1b[0m\tλ\n\udc80") == "a\\x1b[0m\\tλ\n\\udc80"


def test_long_names_are_shortened_in_the_middle():
    assert text.name("layers.0.weight", 15) == "layers.0.weight"
    assert text.name("layers.0.weights", 15) == "layers.…weights"
    assert text.name("a\nb", 15) == r"a\nb"


@pytest.mark.parametrize(
    ("duration", "expected"), [(0.1234, "0.12 s"), (12.34, "12.3 s"), (187.4, "3 min 07 s")]
)
def test_seconds(duration, expected):
    assert text.seconds(duration) == expected


def test_percent():
    assert text.percent(0.125) == "12.50 %"
