import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raynas.training.splitting import cut, stratified_order


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    length=st.integers(0, 60),
    seed=st.integers(0, 5),
)
def test_every_prefix_has_the_class_shares_of_the_whole(labels, length, seed):
    labels = np.array(labels)
    length = min(length, len(labels))
    order = stratified_order(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    counts = np.bincount(labels[order[:length]], minlength=5)
    expected = length * np.bincount(labels, minlength=5) / len(labels)
    # Rounding each class by itself can be off by more than one only where five classes add up.
    assert np.abs(counts - expected).max() <= 1.5


def test_order_is_random_but_fixed_by_the_seed():
    labels = np.repeat([0, 1], 50)
    orders = [stratified_order(labels, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_parts_are_disjoint_and_complete():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    parts = cut(labels, np.random.default_rng(0), valid_fraction=0.2, test_fraction=0.1)
    everything = np.concatenate([parts.train, parts.valid, parts.test])
    assert sorted(everything) == list(range(100))
    assert np.bincount(labels[parts.valid]).tolist() == [12, 6, 2]
    assert np.bincount(labels[parts.test]).tolist() == [6, 3, 1]


def test_the_test_part_does_not_move_with_the_validation_part():
    labels = np.arange(100) % 4
    parts = [
        cut(labels, np.random.default_rng(0), valid_fraction=fraction, test_fraction=0.1)
        for fraction in (0.1, 0.4)
    ]
    assert np.array_equal(parts[0].test, parts[1].test)
    assert set(parts[0].valid) < set(parts[1].valid)


def test_a_class_of_two_images_stays_in_training():
    labels = np.repeat([0, 1], [98, 2])
    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts = cut(labels, rng, valid_fraction=0.2, test_fraction=0.0)
        assert 1 in labels[parts.train]
