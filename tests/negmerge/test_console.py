from __future__ import annotations

from negmerge.console import Reporter


def test_on_a_pipe_every_line_is_plain(capsys):
    reporter = Reporter()
    with reporter.stage("Training [3/4]", 2) as stage:
        for number in range(3):  # one more step than was thought
            stage.advance()
            stage.line(f"step {number}")
    reporter.note("done in [bold]runs/x")
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[0] == "Training [3/4] …"
    assert lines[1:4] == ["  step 0", "  step 1", "  step 2"]
    assert lines[4].startswith("Training [3/4]: ")
    assert lines[5] == "done in [bold]runs/x"
    assert "\x1b" not in printed.err


def test_quiet_says_nothing(capsys):
    reporter = Reporter(quiet=True)
    with reporter.stage("Training", 1) as stage:
        stage.advance()
        stage.line("step")
    reporter.note("done")
    assert capsys.readouterr() == ("", "")
