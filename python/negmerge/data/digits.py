"""1,797 scanned handwritten digits, 8×8 pixels of 17 grey levels, that come with scikit-learn.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import numpy as np

from .image_set import ImageSet
from .source import BuiltIn


def load() -> ImageSet:
    """The digits; grey level 0…16 becomes 0…255, each level a different value."""
    from sklearn.datasets import load_digits  # as slow to import as it is rarely needed

    found = load_digits()
    return ImageSet(
        name="digits",
        images=np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None],
        labels=found.target.astype(np.int64),
        class_names=tuple(str(name) for name in found.target_names),
    )


SOURCE = BuiltIn("digits", "1,797 handwritten digits, 8×8, with scikit-learn", load)
