"""The mean of the task vectors exactly where NegMerge keeps nothing, negated: what their conflicts do.

Source: Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025, table 3.
"""

from __future__ import annotations

from .merged import of_whole_pool

METHOD = of_whole_pool("conflict", "Conflict only", "conflict", keeps_zeros=True)
