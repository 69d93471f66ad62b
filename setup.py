"""Builds the native modules with CMake and Ninja; everything else is in ``pyproject.toml``.

``NEGMERGE_CUDA=OFF|ON|AUTO`` (default AUTO: if nvcc is found) chooses whether the CUDA module is built, and
``NEGMERGE_CUDA_ARCHITECTURES`` for which GPUs, as CMake's CUDA_ARCHITECTURES: ``native``, ``90-real``,
several with semicolons (default: all that are supported).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
PACKAGE = "negmerge_ext"


class CleanBuild(build):
    """Starts from an empty staging folder: setuptools would ship whatever an earlier build left there."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class CMakeBuild(build_ext):
    """Configures, builds and installs what CMake defines, one module or two.

    CMake decides which modules there are, so they are installed as a whole, into the source package for an
    editable install and into the staging folder otherwise. The CMake folder is kept between builds.
    """

    def run(self) -> None:
        cuda = os.environ.get("NEGMERGE_CUDA", "AUTO").upper()
        if cuda not in ("OFF", "ON", "AUTO"):
            sys.exit(f"NEGMERGE_CUDA is OFF, ON or AUTO, not {cuda!r}")
        architectures = os.environ.get("NEGMERGE_CUDA_ARCHITECTURES")
        tools = {name: shutil.which(name) for name in ("cmake", "ninja")}
        if missing := [name for name, path in tools.items() if path is None]:
            sys.exit(f"{' and '.join(missing)} not found: install with pip, or build with build isolation")
        folder = ROOT / "build" / f"cmake-{sysconfig.get_config_var('SOABI')}"
        prefix = ROOT if self._in_place else Path(self.build_lib).resolve()
        # What an isolated build puts elsewhere each time is given anew: the cache has the old paths.
        configure = [
            *(tools["cmake"], "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
            f"-DCMAKE_MAKE_PROGRAM={tools['ninja']}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DNEGMERGE_CUDA={cuda}",
            # Without the variable it is the default, not what the build before was told.
            f"-DNEGMERGE_CUDA_ARCHITECTURES={architectures}"
            if architectures
            else "-UNEGMERGE_CUDA_ARCHITECTURES",
        ]
        self._call(configure)
        self._call([tools["cmake"], "--build", folder])
        for old in self._installed():  # one of the two may not be built any more
            old.unlink()
        self._call([tools["cmake"], "--install", folder, "--prefix", prefix, "--strip"])

    @staticmethod
    def _call(command: Sequence[object]) -> None:
        subprocess.run([str(part) for part in command], check=True)

    @property
    def _in_place(self) -> bool:
        return bool(self.inplace or self.editable_mode)

    def _installed(self) -> list[Path]:
        folder = (ROOT if self._in_place else Path(self.build_lib)) / PACKAGE
        return sorted(folder.glob(f"_*{sysconfig.get_config_var('EXT_SUFFIX')}"))

    def get_outputs(self) -> list[str]:
        return [str(Path(self.build_lib) / PACKAGE / module.name) for module in self._installed()]

    def get_output_mapping(self) -> dict[str, str]:
        if not self._in_place:
            return {}
        return {str(Path(self.build_lib) / PACKAGE / m.name): str(m) for m in self._installed()}

    def get_source_files(self) -> list[str]:
        """What a source distribution needs besides the Python files."""
        native = [path for path in ROOT.glob("csrc/**/*") if path.is_file()]
        return [str(path.relative_to(ROOT)) for path in [ROOT / "CMakeLists.txt", *sorted(native)]]


setup(
    ext_modules=[Extension(f"{PACKAGE}._core", sources=[])],
    cmdclass={"build": CleanBuild, "build_ext": CMakeBuild},
)
