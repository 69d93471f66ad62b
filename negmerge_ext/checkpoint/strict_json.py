"""JSON of files that nobody vouches for: one object, every key once, no surprises from the parser."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from typing import Any, NoReturn

#: Lists and objects allowed in any text, and the bytes it must have for each one more. An empty one takes two
#: bytes of text and about a hundred of memory; descriptions of tensors have one in seventeen bytes at most.
_FREE_CONTAINERS = 1 << 20
_BYTES_PER_CONTAINER = 16


def parse_object(text: bytes | bytearray) -> dict[str, Any]:
    """The JSON object in ``text`` (UTF-8).

    Raises ``ValueError``, saying what is wrong, for everything else: other encodings, malformed or too
    deeply nested text, more lists and objects than descriptions of tensors have, a key given twice in one
    object, NaN and infinities, text that is no Unicode.
    """
    containers = text.count(b"[") + text.count(b"{")
    if containers > _FREE_CONTAINERS + len(text) // _BYTES_PER_CONTAINER:
        raise ValueError(f"holds {containers} lists and objects, too many for its {len(text)} bytes")
    try:
        decoded = text.decode("utf-8")
        value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as problem:
        raise ValueError(f"is not UTF-8 text (byte {problem.start})") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"is not valid JSON ({problem})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    if "\\u" in decoded:
        # Escapes can spell halves of surrogate pairs, which no file name, terminal or other file can hold.
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("holds text that is not valid Unicode") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"holds the key {reprlib.repr(twice)} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is not JSON")
