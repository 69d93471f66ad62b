"""The entry of largest magnitude among the task vectors, negated.

Source: Marczak et al., MagMax: Leveraging Model Merging for Seamless Continual Learning, ECCV 2024.
"""

from __future__ import annotations

from .merged import of_whole_pool

METHOD = of_whole_pool("magmax", "MagMax", "magmax")
