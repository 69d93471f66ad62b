"""Uniform mean of all task vectors, negated.

Source: Wortsman et al., Model soups, ICML 2022; Ilharco et al., Editing Models with Task Arithmetic, ICLR
2023.
"""

from __future__ import annotations

from .merged import of_whole_pool

METHOD = of_whole_pool("uniform", "Uniform mean", "uniform", keeps_zeros=True)
