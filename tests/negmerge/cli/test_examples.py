"""What help, README and docs show is run, in a folder that has the files they name."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from negmerge.cli import inspect, merge, patch
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).parents[3]
HELP = [merge.EXAMPLES, inspect.EXAMPLES, patch.EXAMPLES]
PAGES = [ROOT / "README.md", ROOT / "docs" / "cli.md"]


def examples(texts: list[str]) -> list[str]:
    """Command lines, without their comments, in the order in which they first appear."""
    lines = re.findall(r"^ *(negmerge (?:merge|inspect|patch|info)\b[^#\n]*)", "\n".join(texts), re.MULTILINE)
    return list(dict.fromkeys(line.strip() for line in lines))


@pytest.fixture
def model_folders(folder: Path) -> Path:
    """The checkpoints once more, as model folders and as ``torch.save`` files."""
    sources = {"base": "base", "ft1": "pool/0", "ft2": "pool/1"}
    for name, source in sources.items():
        (folder / name).mkdir()
        tensors = load_file(folder / f"{source}.safetensors")
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text("{}")
    for name, source in {"base": "base", "a": "pool/0", "b": "pool/1"}.items():
        tensors = load_file(folder / f"{source}.safetensors")
        torch.save({key: torch.from_numpy(value) for key, value in tensors.items()}, folder / f"{name}.pt")
    return folder


def run(line: str, invoke: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Run one line as a shell would, but for where it sends its output."""
    outputs = ["merged", "out.safetensors", *(["forget.patch"] if "patch make" in line else [])]
    for output in map(Path, outputs):  # every example stands alone
        shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    words = shlex.split(line.partition(">")[0])[1:]
    done = invoke(*(name for word in words for name in expanded(word)))
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def expanded(word: str) -> list[str]:
    return ("*" in word and sorted(map(str, Path().glob(word)))) or [word]


@pytest.mark.parametrize("text", HELP, ids=["merge", "inspect", "patch"])
def test_examples_of_the_help_run(model_folders, invoke, text):
    lines = examples([text])
    assert len(lines) >= 3
    for line in lines:
        run(line, invoke)


def test_examples_of_readme_and_docs_run(model_folders, invoke):
    already = examples(HELP)
    lines = examples([page.read_text() for page in PAGES])
    assert len(lines) >= 10
    for line in lines:
        if line not in already:
            run(line, invoke)


def test_first_python_example_of_the_readme_runs():
    code = re.search(r"```python\n(.*?)```", PAGES[0].read_text(), re.DOTALL)
    assert code is not None
    exec(code[1], {})


def test_docs_list_the_options_of_merge(invoke):
    section = PAGES[1].read_text().split("\n## merge\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))
    documented = set(re.findall(r"--[a-z-]+", " ".join(listed)))
    assert documented == set(
        re.findall(r"--[a-z][a-z-]+", invoke("merge", "--help").stdout.split("Examples")[0])
    ) - {"--help"}
