from __future__ import annotations

import pytest

from negmerge_ext.errors import OptionError
from negmerge_ext.sizes import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1),
        ("512", 512),
        ("10b", 10),
        ("256MiB", 256 << 20),
        ("2GB", 2_000_000_000),
        ("1.5 GiB", 3 << 29),
        (" 4kib ", 4096),
        ("3KB", 3000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", [0, -5, "0", "", "MiB", "2G", "2 parsecs", "-1MB", "1e9", True, 1.5, None, "nan"]
)
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(OptionError, match=r"budget must be a positive number of bytes.*256MiB"):
        parse_bytes(text, "budget")  # type: ignore[arg-type]
