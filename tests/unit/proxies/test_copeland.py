"""Copeland's score as an aggregation of its own, and as a config names it."""

import pytest
from pydantic import ValidationError

from raynas.errors import ConfigError
from raynas.proxies.vote import aggregate, copeland
from raynas.search_config import Level0Config

TABLE = [
    {"synflow": 3.0, "snip": 1.0, "jacob_cov": 2.0},
    {"synflow": 2.0, "snip": 3.0, "jacob_cov": 1.0},
    {"synflow": 1.0, "snip": 2.0, "jacob_cov": 3.0},
    {"synflow": 0.0, "snip": 0.0, "jacob_cov": 9.0},
]


def test_copeland_counts_majorities_and_leaves_ties() -> None:
    """Three that beat each other in a circle, and one that loses to each of them."""
    assert aggregate(TABLE, "copeland").tolist() == copeland(TABLE).tolist() == [2, 2, 2, 0]
    assert aggregate(TABLE, "copeland", names=["jacob_cov"]).tolist() == [1, 0, 2, 3]
    assert aggregate([], "copeland").shape == (0,)


def test_the_vote_orders_what_copeland_leaves_tied() -> None:
    shaded = [*TABLE[:3], {**TABLE[3], "jacob_cov": 1.5}]  # only to tell their mean ranks apart
    assert len(set(aggregate(shaded, "copeland")[:3])) == 1
    assert len(set(aggregate(shaded, "vote")[:3])) > 1


def test_a_config_may_name_it() -> None:
    assert Level0Config(aggregate="copeland").aggregate == "copeland"
    with pytest.raises(ValidationError):
        Level0Config(aggregate="copelan")
    with pytest.raises(ConfigError, match="did you mean 'copeland'"):
        aggregate(TABLE, "copelan")
