"""Aggregation that lets each proxy name its best in turn."""

import numpy as np

from raynas.proxies.vote import aggregate


def test_each_proxy_names_its_best_in_turn():
    good, bad = np.arange(9.0), np.array([8, 7, 6, 5, 4, 3, 2, 1, 0.0])
    scores = [{"good": g, "bad": b} for g, b in zip(good, bad, strict=True)]
    order = np.argsort(-aggregate(scores, "in_turn"), kind="stable")
    assert set(order[:2]) == {8, 0}  # the best of each
    assert set(order[:4]) == {8, 0, 7, 1}
    assert order[-1] == 4


def test_what_both_like_comes_before_what_one_likes():
    scores = [{"p": 3.0, "q": 1.0}, {"p": 2.0, "q": 3.0}, {"p": 1.0, "q": 2.0}]
    order = np.argsort(-aggregate(scores, "in_turn"), kind="stable")
    assert list(order) == [1, 0, 2]
