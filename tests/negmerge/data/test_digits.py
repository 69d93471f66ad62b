from __future__ import annotations

import numpy as np
from negmerge.data.digits import load
from sklearn.datasets import load_digits


def test_digits_are_scikit_learns_to_the_grey_level():
    ours, theirs = load(), load_digits()
    assert ours.images.shape == (1797, 1, 8, 8)
    assert ours.images.min() == 0
    assert ours.images.max() == 255
    np.testing.assert_array_equal(np.rint(ours.images[:, 0] / 255 * 16), theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.target)
    assert ours.class_names == tuple("0123456789")
