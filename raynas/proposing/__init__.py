"""Which architectures next."""

from typing import Any

PROPOSERS: dict[str, Any] = {
    "ranking": "raynas.proposing.ranking:RankingProposer",
    "random": "raynas.proposing.random:RandomProposer",
}
