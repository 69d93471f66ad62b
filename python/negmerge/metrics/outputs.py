"""What a model says of labelled images, and one number per image that tells how sure it is of the label.

Everything is float64. Images with an infinite or NaN logit say nothing: they count as an even prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..spread import spread


@dataclass(frozen=True, eq=False)
class Outputs:
    """logits: floating point ``[n, classes]``, classes ≥ 2. labels: integers ``[n]``, n ≥ 1."""

    logits: torch.Tensor
    labels: torch.Tensor

    def spread(self, count: int) -> Outputs:
        """Those of ``count`` images, or all, spread evenly."""
        rows = torch.from_numpy(spread(count, len(self.labels)))
        return Outputs(self.logits[rows], self.labels[rows])


def confidence(outputs: Outputs) -> np.ndarray:
    """Softmax probability of the label, ``[n]`` in [0, 1]."""
    return _of_label(_log_probabilities(outputs), outputs).exp().numpy()


def loss(outputs: Outputs) -> np.ndarray:
    """Cross-entropy with the label in nats, ``[n]``: minus the logarithm of the confidence."""
    return -_of_label(_log_probabilities(outputs), outputs).numpy()


def entropy(outputs: Outputs) -> np.ndarray:
    """Entropy of the prediction in nats, ``[n]`` in [0, log classes]; it does not look at the label."""
    logs = _log_probabilities(outputs)
    return -(logs.exp() * logs).sum(dim=1).numpy()


def log_odds(outputs: Outputs) -> np.ndarray:
    """Logarithm of p / (1 − p) for the probability p of the label, ``[n]``.

    It goes on telling images apart where p rounds to 1. Source: Carlini et al., Membership Inference Attacks
    From First Principles, IEEE S&P 2022.
    """
    logs = _log_probabilities(outputs)
    others = logs.scatter(1, _column(outputs), -torch.inf)
    return (_of_label(logs, outputs) - others.logsumexp(dim=1)).numpy()


def modified_entropy(outputs: Outputs) -> np.ndarray:
    """Entropy that grows with confidence in a wrong class, in nats, ``[n]`` ≥ 0.

    −(1 − p_y) log p_y − Σ_{k≠y} p_k log(1 − p_k). Source: Song and Mittal, Systematic Evaluation of Privacy
    Risks of Machine Learning Models, USENIX Security 2021.
    """
    logs = _log_probabilities(outputs)
    chances = logs.exp()
    # 1 − p loses its digits only where p is near 1, and one class at most is: that one's is summed up
    # instead.
    complements = torch.log1p(-chances.clamp(max=0.5))
    largest = logs.argmax(dim=1, keepdim=True)
    complements.scatter_(1, largest, logs.scatter(1, largest, -torch.inf).logsumexp(dim=1, keepdim=True))
    terms = -chances * complements
    label = _column(outputs)
    of_label = -complements.gather(1, label).exp() * logs.gather(1, label)
    return terms.scatter(1, label, of_label).sum(dim=1).numpy()


def _log_probabilities(outputs: Outputs) -> torch.Tensor:
    logits = outputs.logits.detach().cpu().double()
    usable = logits.isfinite().all(dim=1, keepdim=True)
    return torch.where(usable, logits, torch.zeros_like(logits)).log_softmax(dim=1)


def _of_label(logs: torch.Tensor, outputs: Outputs) -> torch.Tensor:
    return logs.gather(1, _column(outputs)).squeeze(1)


def _column(outputs: Outputs) -> torch.Tensor:
    return outputs.labels.cpu().long().unsqueeze(1)
