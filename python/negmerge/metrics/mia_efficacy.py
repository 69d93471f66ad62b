"""MIA-efficacy: the share of the forget set that a simple membership attack takes for images never seen.

Source: Jia et al., Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023; Fan et al., SalUn, ICLR
2024. It is read against Retrain's value: neither high nor low is good by itself.
"""

from __future__ import annotations

import numpy as np
from sklearn.svm import SVC

from ..spread import spread


def mia_efficacy(retain: np.ndarray, unseen: np.ndarray, forget: np.ndarray) -> float:
    """True negatives among the forget set / size of the forget set, in [0, 1].

    Of each image the confidence in its label, ``[n]``, without augmentation: see
    :func:`~negmerge.metrics.outputs.confidence`. retain: of training images, members. unseen: of images that
    were never trained on, non-members. forget: of training images that were to be forgotten. A support
    vector machine (scikit-learn's ``SVC``, radial basis functions, C = 3, γ = 1) learns to tell members from
    non-members by the confidence in the label, and judges the forget set.

    Members and non-members are equally many, as many as the smaller side has. SalUn's program takes as many
    members as there are non-members from the beginning of the retain set, which must be larger then; here
    they are spread evenly over it.
    """
    count = min(len(retain), len(unseen))
    members, others = (part[spread(count, len(part))] for part in (retain, unseen))
    attack = SVC(C=3.0, kernel="rbf", gamma="auto")
    attack.fit(np.concatenate([members, others])[:, None], np.repeat([1, 0], count))
    return float(np.mean(attack.predict(forget[:, None]) == 0))
