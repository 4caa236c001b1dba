"""Who trains how far: pool, policies, budget, and the engine that simulates (pure Python)."""

from typing import Any

POLICIES: dict[str, Any] = {
    "nosh": "raynas.scheduling.nosh:NoshPolicy",
    "full": "raynas.scheduling.full:FullPolicy",
    "successive_halving": "raynas.scheduling.halving:SuccessiveHalvingPolicy",
    "hyperband": "raynas.scheduling.halving:HyperbandPolicy",
    "asha": "raynas.scheduling.asha:AshaPolicy",
    "pasha": "raynas.scheduling.pasha:PashaPolicy",
}
