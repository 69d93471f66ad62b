"""NegMerge: the mean of the task vectors where all of them have the same sign, negated.

Source: Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025.
"""

from __future__ import annotations

from .merged import of_whole_pool

METHOD = of_whole_pool("negmerge", "NegMerge", "negmerge")
