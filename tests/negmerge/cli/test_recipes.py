from __future__ import annotations

import json

from negmerge.recipe_file import embedded_recipes, embedded_text


def test_all_are_listed_with_a_line_each(invoke):
    done = invoke("recipes")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == embedded_recipes()
    assert all(len(line.split()) > 5 and "#" not in line for line in lines)
    listed = json.loads(invoke("recipes", "--json").stdout)["recipes"]
    assert [one["name"] for one in listed] == embedded_recipes()


def test_one_is_printed_as_it_is(invoke):
    assert invoke("recipes", "digits").stdout == embedded_text("digits")
    assert json.loads(invoke("recipes", "digits", "--json").stdout)["text"] == embedded_text("digits")


def test_an_unknown_one_is_bad_input(invoke):
    done = invoke("recipes", "digit")
    assert (done.returncode, done.stdout) == (3, "")
    assert "did you mean 'digits'?" in done.stderr
