"""The page in a browser: on a phone, and on paper. Skipped where there is no Chromium."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from negmerge.recipe import Recipe
from negmerge.report.page import comparison_page, run_page
from negmerge.results import Results
from negmerge.saliency import Saliency, SeenImage
from some_results import some_results

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
#: A phone's width in CSS pixels; the window itself cannot be as narrow, a frame can.
PHONE = 360
FRAME = """<!doctype html>
<iframe id="phone" style="width: {width}px; height: 800px; border: 0" srcdoc="{page}"></iframe>
<script>
  const frame = document.getElementById("phone");
  frame.onload = () => {{
    const root = frame.contentDocument.documentElement;
    document.body.dataset.outside = root.scrollWidth - root.clientWidth;
    document.body.dataset.height = root.scrollHeight;
  }};
</script>"""


def chromium(folder: Path, *arguments: str) -> str:
    assert BROWSER is not None
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    command = [BROWSER, *quiet, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def some_maps(results: Results) -> Saliency:
    titles = tuple(row.title for row in results.rows)
    images = [SeenImage(part, "airplane", ("automobile",) * len(titles)) for part in ("forget", "retain")] * 3
    pixels = torch.randint(0, 256, (len(images), 3, 64, 64), dtype=torch.uint8)
    maps = torch.rand(len(titles), len(images), 7, 7)
    return Saliency(titles, "layer4.1", None, tuple(images), pixels, maps)


@pytest.fixture(params=["one run", "several"])
def page(request: pytest.FixtureRequest, small: Recipe) -> str:
    results = some_results(small.model_dump(mode="json"))
    return (
        run_page(results, "name: small\n", some_maps(results))
        if request.param == "one run"
        else comparison_page([results], "")
    )


def test_nothing_sticks_out_on_a_phone(page: str, tmp_path: Path) -> None:
    file = tmp_path / "phone.html"
    file.write_text(FRAME.format(width=PHONE, page=html.escape(page)))
    dom = chromium(tmp_path, "--virtual-time-budget=3000", "--dump-dom", file.as_uri())
    found = {name: re.search(rf'data-{name}="(\d+)"', dom) for name in ("outside", "height")}
    assert all(found.values())
    outside, height = (int(one[1]) for one in found.values() if one)
    assert outside == 0
    assert height > 2000, "all of the page is there"


def test_it_prints(page: str, tmp_path: Path) -> None:
    file, out = tmp_path / "page.html", tmp_path / "page.pdf"
    file.write_text(page)
    chromium(tmp_path, f"--print-to-pdf={out}", "--no-pdf-header-footer", file.as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b", out.read_bytes()))
    assert 1 < pages < 20
