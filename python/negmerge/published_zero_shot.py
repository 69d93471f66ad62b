"""Zero-shot accuracies that NegMerge's authors published for OpenAI's ViT-B/32.

Source: ``zeroshot_accuracies.json`` of their release. The mean over the eight data sets but ImageNet is the
48.13 % of their paper's first table. Validation splits are those of ``data.validation: paper``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Accuracies in [0, 1]."""

    test: float
    validation: float


#: By the name of the data set. EuroSAT's splits are the authors' own and not ours.
PUBLISHED = {
    "stanford-cars": Published(0.59644, 0.59582),
    "dtd": Published(0.44415, 0.43883),
    "eurosat": Published(0.45185, 0.45074),
    "gtsrb": Published(0.32557, 0.32995),
    "mnist": Published(0.48250, 0.48180),
    "resisc45": Published(0.60222, 0.61587),
    "sun397": Published(0.63189, 0.63275),
    "svhn": Published(0.31607, 0.29200),
    "imagenet": Published(0.63338, 0.66660),
}
