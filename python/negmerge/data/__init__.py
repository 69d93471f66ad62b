"""Data sets by the name that a recipe gives, their splits, and what is to be forgotten of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .source import Source

#: What a recipe can name; :mod:`.source` says what one is, :mod:`.get` brings it into the data folder.
DATA_SETS: Registry[Source] = Registry(
    "data set",
    __name__,
    {
        "digits": ".digits:SOURCE",
        "cifar10": ".cifar:CIFAR10",
        "cifar100": ".cifar:CIFAR100",
        "mnist": ".mnist:MNIST",
        "fashion-mnist": ".mnist:FASHION_MNIST",
        "svhn": ".svhn:SVHN",
        "gtsrb": ".gtsrb:SOURCE",
        "dtd": ".dtd:SOURCE",
        "eurosat": ".eurosat:SOURCE",
        "stanford-cars": ".stanford_cars:SOURCE",
        "sun397": ".sun397:SOURCE",
        "resisc45": ".resisc45:SOURCE",
        "food101": ".food101:SOURCE",
        "tiny-imagenet": ".tiny_imagenet:SOURCE",
        "cub": ".cub:SOURCE",
        "imagenet": ".imagenet:SOURCE",
        "image-folder": ".image_folder:SOURCE",
    },
)
