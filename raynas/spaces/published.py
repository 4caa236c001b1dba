"""Architectures of the DARTS space that papers have published, as the literals they printed.

DARTS_V1, DARTS_V2: Liu et al., "DARTS", ICLR 2019 (first and second order). DrNAS_cifar10: Chen
et al., "DrNAS", ICLR 2021. darts_pt_s5_seed0 to 3: Wang et al., "Rethinking Architecture Selection
in Differentiable NAS", ICLR 2021 (DARTS+PT, four seeds of the search).
"""

from collections.abc import Mapping
from types import MappingProxyType

_SHORT = {
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
}


def _literal(normal: str, reduce: str) -> str:
    """Write the literal of two cells given as eight ``op source``, two for each node."""
    cells = []
    for cell in (normal, reduce):
        pairs = (pair.split() for pair in cell.split(","))
        cells.append([(_SHORT[op], int(source)) for op, source in pairs])
    return (
        f"Genotype(normal={cells[0]}, normal_concat=range(2, 6), "
        f"reduce={cells[1]}, reduce_concat=range(2, 6))"
    )


PUBLISHED: Mapping[str, str] = MappingProxyType(
    {
        "DARTS_V1": _literal(
            normal="sep3 1, sep3 0, skip 0, sep3 1, skip 0, sep3 1, sep3 0, skip 2",
            reduce="max 0, max 1, skip 2, max 0, max 0, skip 2, skip 2, avg 0",
        ),
        "DARTS_V2": _literal(
            normal="sep3 0, sep3 1, sep3 0, sep3 1, sep3 1, skip 0, skip 0, dil3 2",
            reduce="max 0, max 1, skip 2, max 1, max 0, skip 2, skip 2, max 1",
        ),
        "DrNAS_cifar10": _literal(
            normal="sep3 0, sep5 1, sep3 1, sep3 2, skip 0, sep3 1, sep3 2, dil5 3",
            reduce="max 0, sep5 1, dil5 2, sep5 1, sep5 1, dil5 3, skip 4, sep5 1",
        ),
        "darts_pt_s5_seed0": _literal(
            normal="sep3 0, sep3 1, sep5 0, dil3 1, skip 0, skip 2, skip 0, max 4",
            reduce="sep3 0, avg 1, dil5 1, dil3 2, avg 0, max 2, sep3 2, skip 4",
        ),
        "darts_pt_s5_seed1": _literal(
            normal="sep3 0, sep3 1, sep3 0, dil3 1, max 0, skip 2, skip 0, dil3 4",
            reduce="dil5 0, avg 1, max 0, sep5 2, max 1, dil3 3, sep5 0, sep3 4",
        ),
        "darts_pt_s5_seed2": _literal(
            normal="skip 0, sep3 1, sep3 0, dil3 1, skip 2, dil3 3, max 1, skip 2",
            reduce="avg 0, max 1, avg 0, sep3 1, dil5 2, skip 3, sep3 2, sep5 4",
        ),
        "darts_pt_s5_seed3": _literal(
            normal="sep3 0, sep3 1, sep3 0, sep3 1, skip 0, skip 2, sep3 1, skip 3",
            reduce="avg 0, sep5 1, max 1, skip 2, dil5 1, max 3, sep5 2, skip 3",
        ),
    }
)
"""Literal of each architecture, by the name it was published under."""
