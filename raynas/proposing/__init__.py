"""Which architectures next."""

from typing import Any

PROPOSERS: dict[str, Any] = {
    "ranking": "raynas.proposing.ranking:RankingProposer",
    "random": "raynas.proposing.random:RandomProposer",
    "evolution": "raynas.proposing.evolution:EvolutionProposer",
    "local": "raynas.proposing.local:LocalProposer",
    "reinforce": "raynas.proposing.reinforce:ReinforceProposer",
    "arch2vec": "raynas.proposing.arch2vec:Arch2VecProposer",
    "bananas": "raynas.proposing.bananas:BananasProposer",
    "brp": "raynas.proposing.brp:BrpProposer",
    "gin": "raynas.proposing.gin:GinProposer",
    "mfnas": "raynas.proposing.mfnas:MfNasProposer",
    "robot": "raynas.proposing.robot:RobotProposer",
}
