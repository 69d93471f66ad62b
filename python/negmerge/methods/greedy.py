"""Greedy soup of task vectors, negated: pool members join a running mean, the best first, if that is better.

Every member is searched by itself, which orders them. Then, in this order, each is tried in the mean of those
accepted so far and stays if the search of that mean comes to a better point than the mean before. So it takes
2N − 1 searches for N members, all of which count.

Source: Wortsman et al., Model soups, ICML 2022, recipe 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method, Searched
from .merged import MergedVector
from .single import candidates

TITLE = "Greedy soup"


def grow(context: Context, searched: Sequence[Searched]) -> Candidate | None:
    """The next mean to search, after all single members and the means that were tried before."""
    members = len(context.pool)
    singles, soups = searched[:members], searched[members:]
    order = sorted(range(members), key=lambda number: singles[number].preference)
    accepted, best = order[:1], singles[order[0]].preference
    for number, soup in zip(order[1:], soups, strict=False):
        if soup.preference < best:
            accepted, best = [*accepted, number], soup.preference
    if len(soups) == members - 1:
        return None
    tried = [*accepted, order[len(soups) + 1]]
    return MergedVector(
        context,
        "uniform",
        [context.pool[number] for number in tried],
        name=f"greedy-{len(soups) + 1:03d}",
        title=f"mean of pool members {', '.join(f'{number:03d}' for number in tried)}",
        keep_patch=False,
    )


METHOD = Method(TITLE, candidates, merges=None, grow=grow, keeps_zeros=True)
