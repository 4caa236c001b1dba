"""Non-dominated sorting against the definition, written out."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.scheduling.pareto import best_first, crowding, fronts

unhurried = settings(deadline=None)  # machines are shared


@st.composite
def points(draw, columns=None, distinct=False):
    """N x M small whole numbers: ties and equal points are common."""
    width = columns or draw(st.integers(1, 4))
    row = st.tuples(*[st.integers(0, 5)] * width)
    rows = draw(st.lists(row, min_size=1, max_size=25, unique=distinct))
    return np.array(rows, dtype=np.float64)


def dominates(a, b):
    return (a >= b).all() and (a > b).any()


def peeled(values):
    """Fronts by the definition: take away who nobody left dominates, again and again."""
    left, found = set(range(len(values))), []
    while left:
        front = {
            i for i in left if not any(dominates(values[j], values[i]) for j in left if j != i)
        }
        found.append(sorted(front))
        left -= front
    return found


@unhurried
@given(points())
def test_fronts_are_those_of_the_definition(values):
    assert [front.tolist() for front in fronts(values)] == peeled(values)


@unhurried
@given(points(), st.data())
def test_best_first_goes_front_by_front_and_is_cut_anywhere(values, data):
    order = best_first(values)
    assert sorted(order) == list(range(len(values)))
    rank = {i: n for n, front in enumerate(peeled(values)) for i in front}
    assert [rank[i] for i in order] == sorted(rank.values())
    count = data.draw(st.integers(0, len(values) + 2))
    assert best_first(values, count) == order[:count]


@unhurried
@given(points(columns=1))
def test_one_value_is_an_ordinary_stable_sort(values):
    assert best_first(values) == np.argsort(-values[:, 0], kind="stable").tolist()


def textbook_crowding(values):
    """The distances of Deb et al., for distinct points of one front of two values."""
    order = sorted(range(len(values)), key=lambda i: values[i][0])
    distance = dict.fromkeys(order, 0.0)
    for before, here, after in zip(order, order[1:], order[2:], strict=False):
        for column in values.T:
            distance[here] += abs(column[after] - column[before]) / np.ptp(column)
    distance[order[0]] = distance[order[-1]] = np.inf
    return [distance[i] for i in range(len(values))]


@unhurried
@given(points(columns=2, distinct=True))
def test_crowding_of_a_front_of_two_values_is_the_textbooks(values):
    front = values[next(fronts(values))]
    assert np.allclose(crowding(front), textbook_crowding(front))


@unhurried
@given(points(), st.randoms())
def test_only_ties_depend_on_the_order_given(values, random):
    shuffled = list(range(len(values)))
    random.shuffle(shuffled)
    first = [tuple(values[i]) for i in best_first(values)]
    second = [tuple(values[shuffled[i]]) for i in best_first(values[shuffled])]

    def facts(order):
        distance = {}
        for front in fronts(values):
            unique = np.unique(values[front], axis=0)
            pairs = zip(map(tuple, unique), crowding(unique), strict=True)
            distance.update(pairs)
        seen = set()
        for point in order:  # of equal points the first counts, the others come after their front
            yield distance[point] if point not in seen else 0.0
            seen.add(point)

    assert list(facts(first)) == list(facts(second))


@unhurried
@given(points())
def test_of_equal_points_only_the_first_counts(values):
    twice = np.concatenate([values, values])
    front = twice[next(fronts(twice))]
    distance = crowding(front)
    for i, j in itertools.combinations(range(len(front)), 2):
        if (front[i] == front[j]).all():
            assert distance[j] == 0


def test_nobody_in_nobody_out():
    nothing = np.zeros((0, 2))
    assert list(fronts(nothing)) == []
    assert best_first(nothing) == []
