"""Sign consensus."""

from .method import Method

NEGMERGE = Method(
    name="negmerge",
    code=0,
    keeps="mean of the elements on whose sign all N task vectors agree",
    source="Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025",
    signs=True,
)
