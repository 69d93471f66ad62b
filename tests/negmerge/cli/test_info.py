import json

import negmerge_ext


def test_info_as_json_is_what_the_library_says(invoke):
    assert json.loads(invoke("info", "--json").stdout) == negmerge_ext.info()


def test_info_shows_the_active_instruction_set_and_the_version(invoke):
    printed = invoke("info").stdout
    assert f"active: {negmerge_ext.info()['instruction_sets']['active']}" in printed
    assert f"negmerge_ext: {negmerge_ext.__version__}" in printed
