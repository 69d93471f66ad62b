"""What importing the package does, in fresh interpreters: little, and the torch operator in any order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import negmerge_ext

USE = """
result = torch.ops.negmerge.merge(torch.ones(2), [torch.full((2,), 2.0)], 0.5)
assert result.tolist() == [0.5, 0.5], result
"""


def run(code: str, *arguments: object, **environment: str) -> str:
    """Run ``code`` in a new interpreter that finds the same packages; give what it prints."""
    path = os.pathsep.join(filter(None, [str(Path(negmerge_ext.__file__).parents[1]), *sys.path]))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_package_alone_imports_neither_torch_nor_numpy() -> None:
    run(
        "import sys, negmerge_ext\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
        "negmerge_ext.info(), negmerge_ext.methods(), negmerge_ext.merge, negmerge_ext.MergeReport\n"
        "assert 'torch' not in sys.modules"
    )


def test_numpy_state_dicts_are_merged_without_torch() -> None:
    run(
        "import sys, numpy as np, negmerge_ext\n"
        "merged = negmerge_ext.merge({'w': np.ones(2, 'f4')}, [{'w': np.zeros(2, 'f4')}])\n"
        "assert merged['w'].tolist() == [2, 2]\n"
        "assert 'torch' not in sys.modules"
    )


def test_safetensors_files_are_merged_without_torch(tmp_path: Path) -> None:
    for name, start in (("base", 1.0), ("finetuned", 0.0)):
        save_file({"w": np.full((2, 3), start, np.float32)}, tmp_path / f"{name}.safetensors")
    run(
        "import os, sys, negmerge_ext\n"
        "os.chdir(sys.argv[1])\n"
        "report = negmerge_ext.merge('base.safetensors', ['finetuned.safetensors'], out='out.safetensors')\n"
        "assert report.kept == 6\n"
        "assert 'torch' not in sys.modules",
        tmp_path,
    )
    assert load_file(tmp_path / "out.safetensors")["w"].tolist() == [[2.0] * 3] * 2


def test_operator_exists_if_torch_comes_first() -> None:
    run(f"import torch, negmerge_ext\n{USE}")


def test_operator_exists_if_torch_comes_second_and_torch_sees_its_own_loader() -> None:
    run(
        "import importlib.machinery, importlib.util, sys, negmerge_ext\n"
        "before = len(sys.meta_path)\n"
        "spec = importlib.util.find_spec('torch')\n"
        "assert spec.origin.endswith('__init__.py') and spec.loader.get_filename('torch') == spec.origin\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "assert type(torch.__loader__) is type(torch.__spec__.loader) "
        "is importlib.machinery.SourceFileLoader\n"
        "assert len(sys.meta_path) == before - 1\n" + USE
    )


#: In place of torch, which takes seconds to import.
SLOW = """
import time
time.sleep(0.2)
ready = True
"""

ACT = """
import sys
sys.path.insert(0, sys.argv[1])
from negmerge_ext.torch_import import when_torch_is_imported
sys.meta_path.pop(0)  # the package's own
def action():
    import torch
    assert torch.ready
    print("acted")
"""


def test_threads_that_import_torch_at_once(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(SLOW)
    output = run(
        ACT + "import threading\n"
        "when_torch_is_imported(action)\n"
        "threads = [threading.Thread(target=lambda: __import__('torch')) for _ in range(4)]\n"
        "[t.start() for t in threads], [t.join() for t in threads]\n",
        tmp_path,
    )
    assert output.splitlines() == ["acted"]


def test_a_thread_in_the_middle_of_importing_torch_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(SLOW)
    output = run(
        ACT + "import threading, time\n"
        "thread = threading.Thread(target=lambda: __import__('torch'))\n"
        "thread.start()\n"
        "while 'torch' not in sys.modules: time.sleep(0.001)\n"
        "when_torch_is_imported(action)\n"
        "thread.join()\n",
        tmp_path,
    )
    assert output.splitlines() == ["acted"]


UNRELIABLE = """
import os
if "TORCH_FAILED" not in os.environ:
    os.environ["TORCH_FAILED"] = "1"
    raise ImportError("not today")
ready = True
"""


def test_an_import_of_torch_that_fails_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(UNRELIABLE)
    output = run(
        ACT + "when_torch_is_imported(action)\n"
        "try:\n"
        "    import torch\n"
        "except ImportError as problem:\n"
        "    print(problem)\n"
        "import torch\n"
        "import torch\n",
        tmp_path,
    )
    assert output.splitlines() == ["not today", "acted"]


def test_an_action_that_fails_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    output = run(
        "import sys, warnings\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import negmerge_ext\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import torch\n"
        "print(caught[0].category.__name__, str(caught[0].message).split(':')[0])\n",
        tmp_path,
    )
    assert output == "RuntimeWarning negmerge_ext could not register its torch operator\n"


def test_a_machine_without_torch() -> None:
    run(
        "import importlib.util, sys, negmerge_ext\n"
        "sys.path.clear()\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "try:\n"
        "    import torch\n"
        "except ModuleNotFoundError as problem:\n"
        "    assert problem.name == 'torch'\n"
        "else:\n"
        "    raise AssertionError"
    )
