"""TIES: task vectors trimmed to their largest 20 %, those with the sign of their sum averaged, negated.

Source: Yadav et al., TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023.
"""

from __future__ import annotations

from .merged import of_whole_pool

#: Thresholds are taken over the whole model, as in the paper's own code.
METHOD = of_whole_pool("ties", "TIES", "ties:density=0.2,per=model")
