"""A membership attack that is stronger than the one of MIA-efficacy.

It asks directly what unlearning is about: can the forget set be told from images of the same kind that were
never seen? Confidence that is too low gives an image away as well as confidence that is too high. Its time
grows with the number of images, that of MIA-efficacy with its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .outputs import Outputs, confidence, entropy, log_odds, loss, modified_entropy

_FOLDS = 5
_FEATURES = (confidence, loss, entropy, log_odds, modified_entropy)

#: The false positive rate at which the true positive rate is reported.
LOW_FPR = 0.01


@dataclass(frozen=True, slots=True)
class Attack:
    """How well the forget set is told from unseen images.

    auc: area under the receiver operating characteristic; about 0.5, or a little less, when nothing can be
    told. tpr: the largest share of the forget set found while at most :data:`LOW_FPR` of the unseen images
    are taken for it; with fewer than 1 / :data:`LOW_FPR` unseen images that is none of them.
    """

    auc: float
    tpr: float


def logistic_attack(forget: Outputs, unseen: Outputs) -> Attack | None:
    """Attack with logistic regression on confidence, loss, entropy, log-odds and modified entropy.

    forget: training images that were to be forgotten. unseen: images of the same classes that were never
    trained on. Every image is judged by a regression fitted to the other four fifths (stratified, shuffled,
    always the same folds), so that a model that tells nothing scores about 0.5 and not more. ``None`` if
    either side has fewer than two images.
    """
    smaller = min(len(forget.labels), len(unseen.labels))
    if smaller < 2:
        return None
    features = np.concatenate(
        [np.stack([feature(part) for feature in _FEATURES], axis=1) for part in (forget, unseen)]
    )
    forgotten = np.repeat([1, 0], [len(forget.labels), len(unseen.labels)])
    folds = StratifiedKFold(min(_FOLDS, smaller), shuffle=True, random_state=0)
    # Weighted, so that regressions of different folds share a scale even where one side is small.
    regression = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    scores = cross_val_predict(regression, features, forgotten, cv=folds, method="decision_function")
    false, true, _ = roc_curve(forgotten, scores, drop_intermediate=False)
    return Attack(auc=float(roc_auc_score(forgotten, scores)), tpr=float(true[false <= LOW_FPR].max()))
