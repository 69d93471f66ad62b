import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import negmerge_ext

PNG = b"\x89PNG\r\n\x1a\n"


def rows(printed: str) -> list[list[str]]:
    """The cells of the table's rows: between its heading and the empty line before the totals."""
    cells = [line.split() for line in printed.split("\n\n")[0].splitlines()[1:]]
    return [row for row in cells if len(row) == 7]


def test_json_is_the_report_of_the_library(invoke, pool):
    told = json.loads(invoke("inspect", *pool, "--json").stdout)
    expected = json.loads(negmerge_ext.inspect(pool[0], pool[1:]).to_json())
    for timed in ("seconds", "buffer_bytes"):
        del told[timed], expected[timed]
    assert told == expected


def test_layers_in_model_order(invoke, pool):
    done = invoke("inspect", *pool)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert [row[0] for row in found] == ["h.0", "h.1", "lm_head"]
    report = negmerge_ext.inspect(pool[0], pool[1:])
    head = next(tensor for tensor in report.merged if tensor.name == "lm_head.weight")
    row = next(row for row in found if row[0] == "lm_head")
    assert row[1:3] == [str(head.elements), f"{100 * head.kept_fraction:.2f}"]


def test_tensors_sorted_and_cut(invoke, pool):
    done = invoke("inspect", *pool, "--by", "tensor", "--sort", "elements", "--top", "2")
    found = rows(done.stdout)
    assert [row[0] for row in found] == ["h.0.weight", "h.1.weight"]
    assert "2 more rows" in done.stdout


@pytest.mark.parametrize("key", ["kept", "agreement", "norm", "max", "non-finite"])
def test_sorting_puts_the_largest_first(invoke, pool, key):
    column = {"kept": 2, "agreement": 3, "norm": 4, "max": 5, "non-finite": 6}[key]
    found = rows(invoke("inspect", *pool, "--by", "tensor", "--sort", key).stdout)
    values = [float(row[column]) for row in found]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


def test_totals_name_their_denominators(invoke, pool):
    report = negmerge_ext.inspect(pool[0], pool[1:], include=["h.*"])
    printed = invoke("inspect", *pool, "--include", "h.*").stdout
    assert f"{100 * report.kept_of_merged:.2f} % of {report.elements:,} merged elements" in printed
    assert (
        f"{100 * report.kept_of_model:.2f} % of all {report.model_elements:,} elements of the model"
        in printed
    )


def test_names_are_never_cut_on_a_pipe(invoke, folder, pool, monkeypatch):
    from safetensors.numpy import save_file

    monkeypatch.setenv("COLUMNS", "40")
    name = "a_rather_long_name_" * 5 + ".weight"
    for path in pool:
        save_file({name: load_file(path)["h.0.weight"]}, path)
    assert name in invoke("inspect", *pool, "--by", "tensor").stdout


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_is_an_image(invoke, pool, suffix):
    done = invoke("inspect", *pool, "--plot", f"figure.{suffix}", "--quiet")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    content = Path(f"figure.{suffix}").read_bytes()
    assert content.startswith(PNG) if suffix == "png" else b"</svg>" in content


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("figure.jpeg2000", 2, "figure.jpeg2000"),
        ("nowhere/figure.png", 1, "nowhere: the folder does not exist"),
        ("taken.png", 1, "taken.png: is a folder"),
    ],
)
def test_plot_that_cannot_be_written_is_refused_first(invoke, folder, name, code, said):
    Path("taken.png").mkdir()
    done = invoke("inspect", "missing", "missing", "--plot", name)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.replace("\n", "")


def test_plot_that_fails_loses_nothing_else(invoke, pool):
    Path("figure.png").symlink_to("/dev/full")
    done = invoke("inspect", *pool, "--plot", "figure.png")
    assert done.returncode == 1
    assert "figure.png: the figure cannot be written: No space left" in done.stderr
    assert [row[0] for row in rows(done.stdout)] == ["h.0", "h.1", "lm_head"]


def test_names_cannot_drive_the_terminal(invoke, pool):
    from safetensors.numpy import save_file

    name = "evil\x1b[2J\n\r\x9b" + 300 * "a" + "$x_{1}$.weight"
    for path in pool:
        save_file({name: load_file(path)["h.0.weight"]}, path)
    done = invoke("inspect", *pool, "--by", "tensor", "--plot", "figure.png")
    assert (done.returncode, done.stderr) == (0, "figure: figure.png\n")
    row = done.stdout.splitlines()[1]
    assert row.startswith(r"evil\x1b[2J\n\r\x9ba")
    assert "a…a" in row
    assert "a$x_{1}$.weight" in row
    assert all(one.isprintable() or one == "\n" for one in done.stdout)
    assert name in [
        tensor["name"] for tensor in json.loads(invoke("inspect", *pool, "--json").stdout)["tensors"]
    ]

    done = invoke("inspect", *pool, "--exclude", "*")
    assert done.returncode == 3
    assert all(one.isprintable() or one == "\n" for one in done.stderr)


def test_bad_input_exits_3(invoke, pool):
    done = invoke("inspect", *pool, "missing.safetensors")
    assert (done.returncode, done.stdout) == (3, "")
    assert "missing.safetensors" in done.stderr
