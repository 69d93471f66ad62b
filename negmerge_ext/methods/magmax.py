"""The entry of largest magnitude."""

from .method import Method

MAGMAX = Method(
    name="magmax",
    code=3,
    keeps="the entry of largest magnitude, of equal ones the last, where any is not zero",
    source="Marczak et al., MagMax: Leveraging Model Merging for Seamless Continual Learning, ECCV 2024",
)
