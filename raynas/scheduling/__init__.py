"""Who trains how far: pool, policies, budget, and the engine that simulates (pure Python)."""

from typing import Any

POLICIES: dict[str, Any] = {
    "nosh": "raynas.scheduling.nosh:NoshPolicy",
    "full": "raynas.scheduling.full:FullPolicy",
}
