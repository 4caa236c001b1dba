import itertools

from hypothesis import given
from hypothesis import strategies as st

from raynas.spaces.cell import Edge, live_edges

OUTPUT = 4
slots = list(itertools.combinations(range(OUTPUT + 1), 2))
dags = st.lists(st.sampled_from(["none", "op"]), min_size=len(slots), max_size=len(slots)).flatmap(
    lambda ops: st.permutations(
        [Edge(*ends, op) for ends, op in zip(slots, ops, strict=True)],
    )
)


def on_a_path(edges, node=0, behind=()):
    """Walk every path from `node`; return the edges of those that end at the output."""
    found = set(behind) if node == OUTPUT else set()
    for edge in edges:
        if edge.source == node and edge.op != "none":
            found |= on_a_path(edges, edge.target, (*behind, edge))
    return found


@given(dags)
def test_live_edges_are_those_on_a_path(edges):
    live = live_edges(edges, OUTPUT)
    assert set(live) == on_a_path(edges)
    assert live == [edge for edge in edges if edge in live]  # their order is kept


def test_nothing_is_live_without_a_path():
    assert live_edges([Edge(0, 1, "op"), Edge(1, 2, "none"), Edge(2, 3, "op")], 3) == []
