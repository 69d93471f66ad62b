import json
import signal
import subprocess
import sys

import pytest
import typer
from negmerge.cli import failures, stopping
from negmerge.cli.failures import describe, exit_code, guarded
from negmerge.cli.stopping import Terminated

from negmerge_ext import errors


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (errors.OptionError("x"), 2),
        (errors.InputError("x"), 3),
        (errors.CheckpointError("x"), 3),
        (errors.PreflightError("x"), 3),
        (errors.MemoryBudgetError("x"), 3),
        (errors.OutputExistsError("x"), 4),
        (errors.VerificationError("x"), 5),
        (errors.DiskSpaceError("x"), 1),
        (errors.SourceChangedError("x"), 1),
        (errors.ResumeError("x"), 1),
        (errors.NativeModuleError("x"), 1),
        (OSError(28, "No space left on device"), 1),
        (ZeroDivisionError(), 1),
        (ModuleNotFoundError("no", name="sklearn.svm"), 2),
        (ModuleNotFoundError("no", name="negmerge.nothing"), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_exit_code(problem, code):
    assert exit_code(problem) == code


def test_every_exception_of_the_package_has_a_code_of_its_kind():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.NegmergeError)
    ]
    for kind in kinds:
        code = exit_code(kind("x"))
        assert (code in (2, 3)) == issubclass(kind, errors.InputError), kind


def run(problem, capsys, **arguments):
    @guarded
    def command(as_json: bool = False) -> None:
        raise problem

    with pytest.raises(typer.Exit) as stopped:
        command(**arguments)
    printed = capsys.readouterr()
    assert printed.out == ""
    return stopped.value.exit_code, printed.err


def test_error_is_one_message_without_traceback(capsys):
    problem = errors.ShapeMismatchError(
        "has shape [2], the base [3]", path="ft.pt", tensor="w", remedy="Exclude it"
    )
    code, message = run(problem, capsys)
    assert code == 3
    assert message == f"negmerge: error: {problem}\n"


def test_error_as_json_has_every_problem(capsys):
    problems = [
        errors.MissingTensorError("is missing", path="a", tensor="w"),
        errors.DtypeError("cannot be merged", path="b", tensor="v"),
    ]
    with pytest.raises(errors.PreflightError) as together:
        errors.raise_problems(problems)
    code, message = run(together.value, capsys, as_json=True)
    told = json.loads(message)["error"]
    assert told["message"] == str(together.value)
    assert (code, told["exit_code"], told["type"]) == (3, 3, "PreflightError")
    assert [(one["type"], one["path"], one["tensor"]) for one in told["problems"]] == [
        ("MissingTensorError", "a", "w"),
        ("DtypeError", "b", "v"),
    ]


def test_unexpected_error_names_its_type_and_says_how_to_see_more(capsys):
    code, message = run(ZeroDivisionError("by zero"), capsys)
    assert code == 1
    assert "ZeroDivisionError: by zero" in message
    assert "--debug" in message


def test_missing_module_names_the_extra(capsys):
    code, message = run(ModuleNotFoundError("No module named 'pydantic'", name="pydantic"), capsys)
    assert code == 2
    assert "negmerge_ext[pipeline]" in message


def test_control_characters_are_shown_not_obeyed(capsys):
    _, message = run(errors.MissingTensorError("is missing", tensor="w\x1b]0;title\x07\r"), capsys)
    assert message == "negmerge: error: tensor 'w\\x1b]0;title\\x07\\r': is missing\n"


def test_notes_of_an_interruption_are_told():
    stopped = KeyboardInterrupt()
    stopped.__notes__ = ["Continue with resume"]
    assert "Continue with resume" in describe(stopped)
    assert exit_code(Terminated()) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("stop", "code", "says"),
    [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "stopped by SIGTERM")],
)
def test_a_signal_that_a_library_made_another_exception_of(capsys, monkeypatch, stop, code, says):
    monkeypatch.setattr(stopping, "_arrived", stop)
    monkeypatch.setattr(failures, "drop_stdout", lambda: None)
    found, message = run(ValueError("only one element tensors"), capsys)
    assert found == code
    assert message == f"negmerge: {says}. It came out as ValueError: only one element tensors\n"
    assert run(stop(), capsys) == (code, f"negmerge: {says}\n")
    assert run(BrokenPipeError(), capsys) == (code, "")


#: Signals itself in the middle of a command, and lets a finalizer or a command make something else of that.
STOPPED = """
import os, signal, sys
from negmerge.cli import main
import negmerge.cli.info

def info(**options):
    try:
        os.kill(os.getpid(), signal.{signal})
        while True:
            pass
    except KeyboardInterrupt:
        {then}

negmerge.cli.info.COMMAND.callback = {guard}(info)
sys.argv = ["negmerge", "info"]
main()
"""


@pytest.mark.parametrize("guard", ["negmerge.cli.failures.guarded", ""])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("then", ["raise ValueError('lost') from None", "sys.exit(1)", "raise"])
def test_the_exit_code_of_a_signal_whatever_becomes_of_it(guard, name, code, then):
    program = STOPPED.format(signal=name, then=then, guard=guard)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_usage_errors_and_exits_pass_unchanged():
    for problem in (typer.Exit(7), typer.BadParameter("no")):

        @guarded
        def command(problem=problem) -> None:
            raise problem

        with pytest.raises(type(problem)):
            command()
