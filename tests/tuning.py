"""The numbers of csrc/cpu/tuning.h, for tests of what they bring about."""

from __future__ import annotations

import re

from native_builds import ROOT

TUNING = ROOT / "csrc" / "cpu" / "tuning.h"


def size(name: str) -> int:
    """The value of ``constexpr size_t name = size_t{digits} << shift;``."""
    pattern = rf"^constexpr size_t {name} = size_t\{{(\d+)\}} << (\d+);$"
    [(digits, shift)] = re.findall(pattern, TUNING.read_text(), re.MULTILINE)
    return int(digits) << int(shift)


def changed(name: str, value: str) -> str:
    """The text of the file with another value of the constant ``name``."""
    text, found = re.subn(rf"(?m)^(constexpr \w+ {name} =) .*;$", rf"\1 {value};", TUNING.read_text())
    assert found == 1, name
    return text
