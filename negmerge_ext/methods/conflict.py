"""The complement of sign consensus."""

from .method import Method

CONFLICT = Method(
    name="conflict",
    code=2,
    keeps="mean of the elements on whose sign not all task vectors agree, which negmerge does not keep",
    source="Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025, table 3",
    signs=True,
)
