"""Which operations may stand on which edge of a DARTS cell: the tables of `darts`, `s1` to `s4`.

Liu et al., "DARTS", ICLR 2019; Zela et al., "Understanding and Robustifying Differentiable
Architecture Search", ICLR 2020 (S1 to S4). States 0 and 1 of a cell are the outputs of the cell
before the previous one and of the previous one, states 2 to 5 its nodes. A node may read every
earlier state, which makes 2 + 3 + 4 + 5 = 14 edges. The order of an edge's ops is that of the
columns of a supernet's α.
"""

from typing import NamedTuple

from raynas.spaces.cell import NONE

NOISE = "noise"
"""The op whose output is drawn from N(0, 1), whatever comes in (S4)."""

NUM_INPUTS = 2
NUM_NODES = 4
NODES = range(NUM_INPUTS, NUM_INPUTS + NUM_NODES)
"""The states that are nodes; the output of a cell is their concatenation."""

EDGES = tuple((source, node) for node in NODES for source in range(node))
"""Source state and node of each edge, in the order of a supernet's rows."""

OPS = (
    NONE,
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Every operation of DARTS, in the published order."""

CellOps = tuple[tuple[str, ...], ...]
"""The ops of each edge of a cell, in the order of `EDGES`."""


class EdgeOps(NamedTuple):
    """The ops of each edge of the two kinds of cells."""

    normal: CellOps
    reduce: CellOps


def edge_index(source: int, node: int) -> int:
    """Return the position in `EDGES` of the edge from state `source` to state `node`."""
    position = node - NUM_INPUTS
    return position * (position + 3) // 2 + source


def everywhere(*ops: str) -> EdgeOps:
    """Return the table that has the same ops on every edge."""
    cell = (ops,) * len(EDGES)
    return EdgeOps(cell, cell)


def _cell(rows: str) -> CellOps:
    """Read a table of short names: a row for each node, its edges separated by commas."""
    short = {
        "skip": "skip_connect",
        "sep3": "sep_conv_3x3",
        "dil3": "dil_conv_3x3",
        "dil5": "dil_conv_5x5",
        "max": "max_pool_3x3",
        "avg": "avg_pool_3x3",
    }
    edges = rows.replace("\n", ",").split(",")
    return tuple(tuple(short[op] for op in edge.split()) for edge in edges if edge.strip())


DARTS = everywhere(*OPS[1:])
DARTS_WITH_NONE = everywhere(*OPS)
S1 = EdgeOps(
    normal=_cell("""
        skip dil3, skip dil5
        skip dil5, skip sep3, skip dil3
        max skip, skip sep3, skip sep3, skip dil3
        skip sep3, max skip, skip dil3, dil3 dil5, dil3 dil5
    """),
    reduce=_cell("""
        max avg, max dil3
        max avg, max avg, skip dil5
        max avg, max sep3, skip dil3, skip dil5
        max avg, max avg, skip dil5, skip dil5, skip dil5
    """),
)
S2 = everywhere("skip_connect", "sep_conv_3x3")
S3 = everywhere(NONE, "skip_connect", "sep_conv_3x3")
S4 = everywhere(NOISE, "sep_conv_3x3")
