"""Proxies on the networks of NAS-Bench-201, small ones."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from raynas.proxies.proxy import PROXIES
from raynas.proxies.score import ProxyScorer
from raynas.proxies.vote import aggregate
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

TABLE = Path(__file__).parents[4] / "shared" / "data" / "nb201.parquet"
TASK = TaskShape(in_channels=3, image_size=16, num_classes=10)
SPACE = NasBench201(channels=4, cells_per_stage=1)

FORM = "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|"
CONV3 = FORM.format("nor_conv_3x3")
SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
SKIP_IN_TWO = "|skip_connect~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
SKIP_WITH_DEAD_ENDS = "|avg_pool_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|none~2|"
DEAD = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"


def random_batch(size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, 16, 16, generator=generator)
    return images, torch.randint(10, (size,), generator=generator)


@pytest.fixture(scope="module")
def scores() -> dict[str, dict[str, float]]:
    texts = (CONV3, SKIP, SKIP_IN_TWO, SKIP_WITH_DEAD_ENDS, DEAD)
    scorer = ProxyScorer(SPACE, TASK, random_batch, names=PROXIES)
    found = pickle.loads(pickle.dumps(scorer))([SPACE.parse(text) for text in texts])
    return dict(zip(texts, found, strict=True))


def test_live_cells_have_finite_scores(scores: dict[str, dict[str, float]]) -> None:
    for text in (CONV3, SKIP):
        assert all(map(math.isfinite, scores[text].values()))


def test_dead_cells_have_none_but_counts(scores: dict[str, dict[str, float]]) -> None:
    finite = {name for name, score in scores[DEAD].items() if math.isfinite(score)}
    assert finite == {"params", "flops"}


def test_cells_of_one_function_score_alike(scores: dict[str, dict[str, float]]) -> None:
    assert scores[SKIP_IN_TWO] == scores[SKIP]
    assert scores[SKIP_WITH_DEAD_ENDS] == scores[SKIP]


def test_convolutions_beat_skips(scores: dict[str, dict[str, float]]) -> None:
    for name in ("synflow", "snip", "naswot", "params", "flops"):
        assert scores[CONV3][name] > scores[SKIP][name]


def test_proxies_rank_cells_as_training_does() -> None:
    """Published Spearman correlations with 16 channels are .74 (synflow) and .73 (jacob_cov)."""
    pandas = pytest.importorskip("pandas")
    if not TABLE.exists():
        pytest.skip(f"{TABLE} is not here")
    table = pandas.read_parquet(TABLE, columns=["arch_str", "c10_test_e200"])
    rows = np.random.default_rng(0).choice(len(table), 60, replace=False)
    accuracy = table.c10_test_e200.to_numpy()[rows]
    names = ["synflow", "jacob_cov", "snip"]
    found = ProxyScorer(SPACE, TASK, random_batch, names=names)(
        [SPACE.parse(text) for text in table.arch_str[rows]]
    )

    def correlation(scores: np.ndarray) -> float:
        return pandas.Series(scores).corr(pandas.Series(accuracy), method="spearman")

    assert correlation(aggregate(found, names=["synflow"])) > 0.6
    assert correlation(aggregate(found, names=["jacob_cov"])) > 0.5
    assert correlation(aggregate(found, "vote")) > 0.65
