"""What is shipped: a source distribution that builds a wheel, and a wheel that works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (
    *("csrc", "negmerge_ext", "python"),
    *("CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "setup.py"),
)
STRAY = "build/lib.linux-x86_64-cpython-311/negmerge_ext/removed_long_ago.py"


def build(*arguments: str | Path, cwd: Path) -> None:
    # Without isolation nothing is downloaded; the build still must not see torch.
    command = [sys.executable, "-m", "build", "--no-isolation", *map(str, arguments)]
    environment = {**os.environ, "NEGMERGE_CUDA": "OFF", "PYTHONWARNINGS": "default"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("pybind11")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, source)
    build("--sdist", "--outdir", out, cwd=source)
    [archive] = out.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    [folder] = (path for path in out.iterdir() if path.is_dir())
    return folder


def test_sdist_holds_all_that_a_build_needs(sdist: Path) -> None:
    sources = [*ROOT.glob("csrc/**/*"), *ROOT.glob("negmerge_ext/**/*.py"), *ROOT.glob("negmerge_ext/*.pyi")]
    sources += [*ROOT.glob("python/negmerge/**/*.py"), *ROOT.glob("python/negmerge/**/*.yaml")]
    sources += [ROOT / name for name in SHIPPED]
    names = [source.relative_to(ROOT) for source in sources if source.is_file()]
    assert len(names) > 100
    assert [name for name in names if not (sdist / name).is_file()] == []


@pytest.mark.slow
def test_wheel_from_the_sdist_works(sdist: Path, tmp_path: Path) -> None:
    stray = sdist / STRAY
    stray.parent.mkdir(parents=True)
    stray.write_text("what an earlier build left must not be shipped")
    build("--wheel", "--outdir", tmp_path, cwd=sdist)

    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert not [name for name in names if name.endswith(Path(STRAY).name)]
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"negmerge_ext", "negmerge"}
    assert {"negmerge_ext/py.typed", "negmerge/recipes/digits.yaml"} <= set(names)
    [module] = (name for name in names if name.endswith(".so"))
    assert module.startswith("negmerge_ext/_core.")

    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import negmerge_ext, numpy as np\n"
        "a, b = np.zeros(3, np.float32), np.ones(3, np.float32)\n"
        "print(negmerge_ext.__file__, negmerge_ext.merge({'a': a}, [{'a': b}])['a'].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split(" ", 1) == [
        str(tmp_path / "site/negmerge_ext/__init__.py"),
        "[-1.0, -1.0, -1.0]\n",
    ]
