"""What a cell of summing nodes computes, written so that equal cells are written alike.

Only connections on a path from input to output count. A node that is nothing but a skip from
another *is* the other. Nodes are numbered in an order that does not depend on how the cell numbers
them; a node is written as the sum of its terms ``op(node)``::

    1=conv(0);2=conv(0)+pool(1)

The last node is the output; with a concatenation, the nodes joined follow: ``1=conv(0);[0,1,1]``.
A cell that passes its input on is ``0``, a dead one ``#``. Two ops of one kind on one node keep
weights of their own, so they are not one op used twice; nodes whose ops have no weights and whose
terms are the same are one node.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

from raynas.spaces.cell import Edge, live_edges

DEAD = "#"
"""Identity of every cell whose output is zero whatever comes in."""

Terms = dict[int, list[tuple[str, int]]]
"""By node that is read or returned: op and source of everything it sums."""

_JOIN = ""  # the op between a node and the concatenation it is part of


@lru_cache(maxsize=2**14)
def identity(
    edges: tuple[Edge, ...],
    nodes: int,
    concat: bool,
    skips: frozenset[str],
    weightless: frozenset[str],
) -> str:
    """Return the identity of a cell.

    Args:
        edges: Every edge, by target.
        nodes: Number of nodes, input and last among them.
        concat: Whether the output is all nodes but the input, rather than the last.
        skips: Ops that pass a node on as it is.
        weightless: Ops known to be a fixed function of their input.
    """
    output = nodes if concat else nodes - 1
    joined = [Edge(node, output, _JOIN) for node in range(1, nodes)] if concat else []
    live = live_edges([*edges, *joined], output)
    if not live:
        return DEAD
    terms, same = _terms(live, skips, weightless)
    if same.get(output, output) == 0:
        return "0"
    output = same.get(output, output)
    number = _numbers(terms)
    written = [
        f"{number[node]}={_sum(terms[node], number)}"
        for node in sorted(terms, key=number.__getitem__)
        if not (concat and node == output)
    ]
    if concat:
        parts = sorted(number[source] for _, source in terms[output])
        written.append(f"[{','.join(map(str, parts))}]")
    return ";".join(written)


def _terms(
    live: Sequence[Edge], skips: frozenset[str], weightless: frozenset[str]
) -> tuple[Terms, dict[int, int]]:
    """Return the terms of every node that is not another one, and which node each other one is."""
    same: dict[int, int] = {}
    terms: Terms = {}
    by_terms: dict[tuple[tuple[str, int], ...], int] = {}
    for target in sorted({edge.target for edge in live}):
        incoming = [edge for edge in live if edge.target == target]
        found = sorted((edge.op, same.get(edge.source, edge.source)) for edge in incoming)
        if len(found) == 1 and found[0][0] in skips:
            same[target] = found[0][1]
        elif all(op in weightless for op, _ in found):
            node = by_terms.setdefault(tuple(found), target)
            if node == target:
                terms[target] = found
            else:
                same[target] = node
        else:
            terms[target] = found
    return terms, same


def _numbers(terms: Terms) -> dict[int, int]:
    """Number the nodes, sources first; ties are broken by what a node computes and is used for."""
    colours = _colours(terms)
    number = {0: 0}
    left = set(terms)
    while left:
        ready = [node for node in left if all(source in number for _, source in terms[node])]
        following = min(
            ready,
            key=lambda node: (
                sorted((number[source], op) for op, source in terms[node]),
                colours[node],
                node,
            ),
        )
        number[following] = len(number)
        left.remove(following)
    return number


def _colours(terms: Terms) -> Mapping[int, str]:
    """Hash every node with its neighbours' hashes, as often as there are nodes."""
    readers: Terms = {}
    for target, found in terms.items():
        for op, source in found:
            readers.setdefault(source, []).append((op, target))
    colours = dict.fromkeys([0, *terms], "")
    colours[0] = "input"
    for _ in colours:
        colours = {
            node: _hash(
                own,
                sorted(f"{op}({colours[v]})" for op, v in terms.get(node, ())),
                sorted(f"{op}({colours[v]})" for op, v in readers.get(node, ())),
            )
            for node, own in colours.items()
        }
    return colours


def _hash(own: str, read: Sequence[str], used: Sequence[str]) -> str:
    text = f"{own}<{'+'.join(read)}>{'+'.join(used)}"
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _sum(terms: Sequence[tuple[str, int]], number: Mapping[int, int]) -> str:
    written = sorted((number[source], op) for op, source in terms)
    return "+".join(f"{op}({source})" for source, op in written)
