"""What a page has, as a browser would find it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

_VOID = {"meta", "img", "br", "link", "hr", "input"}
_URLS = {"src", "href", "srcset", "data", "action", "poster"}


class Page(HTMLParser):
    """A well-formed page.

    tables: by caption, rows of cells, headings first. headings: (level, text). urls: of everything that a
    browser would fetch. tags: how often each occurs. text: all of it, spaces collapsed.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[tuple[int, str]] = []
        self.urls: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: dict[str, int] = {}
        self._open: list[str] = []
        self._texts: list[str] = []
        self._caught: list[tuple[str, list[str]]] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        found = dict(attrs)
        self.urls += [value for name, value in attrs if name in _URLS and value]
        if "id" in found:
            self.ids.append(found["id"] or "")
        self.references += (found.get("aria-labelledby") or "").split()
        if tag == "img":
            self.images.append(found)
        if tag not in _VOID and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self._open.append(tag)
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td", "caption") or tag in ("h1", "h2", "h3", "h4"):
            self._caught.append((tag, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag
        if self._caught and self._caught[-1][0] == tag:
            text = " ".join(" ".join(self._caught.pop()[1]).split())
            if tag in ("th", "td"):
                self._rows[-1].append(text)
            elif tag == "caption":
                self._caption = text
            else:
                self.headings.append((int(tag[1]), text))
        if tag == "table":
            self.tables[self._caption], self._rows = self._rows, []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        for _, texts in self._caught:
            texts.append(data)
        if self._open and self._open[-1] not in ("style", "script"):
            self._texts.append(data)

    def rows(self, caption: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Of a table: the name in the first column, and the other cells by heading."""
        headings, *rows = self.tables[caption]
        for row in rows:
            yield row[0], dict(zip(headings[1:], row[1:], strict=True))
