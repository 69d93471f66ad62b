"""DTD: 5,640 photographs of textures, 47 classes.

Source: Cimpoi et al., Describing Textures in the Wild, CVPR 2014. Training images are the first published
division's training and validation images, as NegMerge's protocol has them.
"""

from __future__ import annotations

from functools import partial

from .routes import Archive, Official
from .source import InFiles
from .torchvision_files import through_torchvision

SOURCE = InFiles(
    name="dtd",
    title="5,640 photographs of textures, 47 classes",
    index=partial(through_torchvision, "DTD", train=("train", "val"), test="test"),
    layout=("dtd/dtd/images", "dtd/dtd/labels/train1.txt"),
    unpack_into="dtd",
    routes=(
        Official(
            (
                Archive(
                    "dtd-r1.0.1.tar.gz",
                    625_239_812,
                    "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
                    ("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
                ),
            )
        ),
    ),
)
