"""The mean of everything."""

from .method import Method

UNIFORM = Method(
    name="uniform",
    code=1,
    keeps="mean of all elements",
    source="Wortsman et al., Model soups, ICML 2022; Ilharco et al., Editing Models with Task Arithmetic, "
    "ICLR 2023",
    signs=True,
)
