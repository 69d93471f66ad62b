import os
import subprocess
import sys
from importlib import import_module

import pytest
from negmerge.cli import data, patch
from negmerge.cli.app import app

import negmerge_ext

COMMANDS = [
    [],
    ["merge"],
    ["inspect"],
    ["patch"],
    ["patch", "make"],
    ["patch", "apply"],
    ["patch", "info"],
    ["info"],
    ["demo"],
    ["unlearn"],
    ["recipes"],
    ["finetune"],
    ["evaluate"],
    ["report"],
    ["compare"],
    ["data"],
    ["data", "get"],
    ["data", "list"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(invoke, command):
    done = invoke(*command, "--help")
    assert done.returncode == 0
    assert "Usage: negmerge" in done.stdout
    assert done.stderr == ""


def test_help_lists_the_exit_codes(invoke):
    printed = invoke("--help").stdout
    assert "Exit codes" in printed
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130"):
        assert f"\n  {code}" in printed


def test_usage_names_arguments_as_the_help_does(invoke):
    assert "negmerge merge [OPTIONS] BASE FT..." in invoke("merge", "--help").stdout


@pytest.mark.parametrize("group", [app, patch.COMMAND, data.COMMAND], ids=["negmerge", "patch", "data"])
def test_a_group_lists_its_commands_with_the_first_sentence_of_their_help(group):
    lines = {name: line for panel in group.panels.values() for name, line in panel.items()}
    assert list(lines) == list(group.commands)
    for name, command in group.commands.items():
        assert command.name == name
        assert command.help.split("\n\n")[0] == lines[name]


def test_help_shows_every_option_with_its_text(invoke):
    printed = " ".join(invoke("inspect", "--help").stdout.split())
    for option in import_module("negmerge.cli.inspect").COMMAND.params:
        assert {*option.opts, option.metavar} & set(printed.replace(",", "").replace("FT...", "FT").split())
        assert option.help in printed


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("negmerge in", "inspect info"),
        ("negmerge patch a", "apply"),
        ("negmerge inspect b f --by l", "layer"),
        ("negmerge merge b f --mode ", "negate add vector"),
        ("negmerge merge b f --device c", "cpu cuda"),
        ("negmerge inspect b f --device a", "auto"),
        ("negmerge patch make b f --method u", "uniform"),
        ("negmerge patch apply b p --mode a", "add"),
        ("negmerge merge b f --out-dtype float8", "float8_e4m3fn float8_e5m2"),
    ],
)
def test_shell_completion(negmerge, words, completions):
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_NEGMERGE_COMPLETE": "complete_bash"}
    assert negmerge(env=os.environ | asked).stdout.split() == completions.split()


def test_help_has_no_escapes_where_colours_are_not_wanted(monkeypatch):
    ctx = app.make_context("negmerge", [], resilient_parsing=True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in app.get_help(ctx)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in app.get_help(ctx)


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_help_fits_the_terminal(invoke, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    page = invoke("merge", "--help").stdout.split("Examples:")[0].split("\n", 1)[1]
    assert max(map(len, page.splitlines())) <= min(int(columns), 100)


@pytest.mark.parametrize("columns", ["1", "10"])
def test_help_is_there_in_the_narrowest_terminal(invoke, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    done = invoke("merge", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--max-memory" in done.stdout


def test_help_of_each_patch_command_has_its_own_example(invoke):
    for command in ("make", "apply", "info"):
        lines = invoke("patch", command, "--help").stdout.split("Example:\n")[1].strip().splitlines()
        assert [line.split()[:3] for line in lines] == [["negmerge", "patch", command]]


@pytest.mark.parametrize("arguments", [["merge", "", "ft", "-o", "o"], ["merge", "b", "", "-o", "o"]])
def test_an_empty_input_is_not_the_current_folder(invoke, arguments):
    done = invoke(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is empty" in done.stderr


@pytest.mark.parametrize("command", [["patch", "make", "b", "f"], ["patch", "apply", "b", "p"], ["demo"]])
def test_an_empty_output_is_not_the_current_folder(invoke, command):
    done = invoke(*command, "-o", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is empty" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["merge", "b", "f", "-o", "o", "--threads", "0"], "'0' is not an integer from 1 on"),
        (["merge", "b", "f", "-o", "o", "--threads", "two"], "'two' is not an integer from 1 on"),
        (["merge", "b", "f", "-o", "o", "--scale", "much"], "'much' is not a number"),
        (["merge", "b", "f", "-o", "o", "--out-dtype", "int8"], "--out-dtype"),
        (["inspect", "b", "f", "--by", "model"], "'model' is not one of layer, tensor"),
        (["inspect", "b", "f", "--top", "-1"], "'-1' is not an integer from 1 on"),
    ],
)
def test_a_value_that_cannot_be_is_wrong_use_of_that_option(invoke, arguments, problem):
    done = invoke(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for '--" in done.stderr
    assert problem in done.stderr


def test_a_device_is_no_output(invoke):
    done = invoke("patch", "make", "b", "f", "-o", "/dev/null", "--overwrite")
    assert (done.returncode, done.stdout) == (2, "")
    assert "neither a file nor a folder" in done.stderr.replace("\n", " ")


def test_version(invoke):
    assert invoke("--version").stdout == f"negmerge {negmerge_ext.__version__}\n"


def test_without_a_command_it_shows_help(invoke):
    done = invoke()
    assert done.returncode == 2
    assert "Usage: negmerge" in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["merge"], ["merge", "a", "b"], ["info", "--nonsense"]])
def test_wrong_use_exits_2_and_says_so_on_stderr(invoke, arguments):
    done = invoke(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: negmerge" in done.stderr


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


IMPORTED = """
import sys
from negmerge.cli import main
try:
    main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
heavy = {"torch", "numpy", "matplotlib", "sklearn", "yaml", "scipy", "pydantic", "rich", "safetensors"}
heavy |= {"asyncio", "email", "importlib.metadata"}
heavy &= set(sys.modules)
print("heavy:", *sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["merge", "--help"], ["unlearn", "--help"], ["data", "get", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_and_version_import_nothing_heavy(arguments):
    done = python(IMPORTED, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "heavy:\n"


OPTIONS = {
    "defaults": [],
    "all values": [
        *(
            "--scale",
            "0.5",
            "--mode",
            "add",
            "--method",
            "uniform",
            "--include",
            "h.*",
            "--exclude",
            "*.bias",
        ),
        *("--out-dtype", "bfloat16", "--max-memory", "64MiB", "--threads", "1", "--device", "cpu"),
    ],
    "flags": ["--verify", "--overwrite", "--json", "--quiet"],
    "dry run": ["--dry-run"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_merge_of_safetensors_imports_numpy_and_nothing_else_that_is_heavy(pool, options):
    done = python(IMPORTED, "merge", *pool, "-o", "out.safetensors", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "heavy: numpy\n"


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where ``module`` is not installed."""
    hidden = f"import sys; sys.modules[{module!r}] = None; from negmerge.cli import main; main()"
    return python(hidden, *arguments)


def test_without_typer_one_line_names_the_extra():
    done = without("typer", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "negmerge_ext[cli]" in done.stderr


INTERRUPTED = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{}":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from negmerge.cli import main
main()
"""


@pytest.mark.parametrize(
    "module", ["typer", "negmerge.cli.app", "negmerge.cli.failures", "negmerge.cli.info"]
)
def test_ctrl_c_while_modules_are_imported_ends_it_quietly(module):
    done = python(INTERRUPTED.format(module), "info")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_without_matplotlib_a_plot_fails_before_anything_is_read(pool):
    done = without("matplotlib", "inspect", "missing.safetensors", "missing.safetensors", "--plot", "a.png")
    assert done.returncode == 2
    assert "negmerge_ext[cli]" in done.stderr


def test_debug_prints_the_traceback(negmerge, folder):
    arguments = ["merge", "missing.safetensors", "also-missing.safetensors", "-o", "out.safetensors"]
    plain, debug = negmerge(*arguments), negmerge("--debug", *arguments)
    assert plain.returncode == debug.returncode == 3
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_module_can_be_run(negmerge):
    assert negmerge("--version").returncode == 0
