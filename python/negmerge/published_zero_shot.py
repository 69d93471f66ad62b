"""Zero-shot accuracies that NegMerge's authors published for OpenAI's ViT-B/32.

Source: ``zeroshot_accuracies.json`` of their release. The mean over the eight data sets but ImageNet is the
48.13 % of their paper's first table. Validation splits are those of ``data.validation: paper``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Accuracies in [0, 1]. differs: what of the authors' is not ours, so that ours will not be the same."""

    test: float
    validation: float
    differs: str | None = None


#: By the name of the data set.
PUBLISHED = {
    "stanford-cars": Published(0.59644, 0.59582),
    "dtd": Published(0.44415, 0.43883),
    "eurosat": Published(0.45185, 0.45074, "splits and the wording of classes"),
    "gtsrb": Published(0.32557, 0.32995, "the wording of classes"),
    "mnist": Published(0.48250, 0.48180),
    "resisc45": Published(0.60222, 0.61587),
    "sun397": Published(0.63189, 0.63275),
    "svhn": Published(0.31607, 0.29200),
    "imagenet": Published(0.63338, 0.66660),
}
