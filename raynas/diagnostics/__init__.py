"""When a supernet's mixing weights mislead, and whether a search spent its epochs well.

The analyses of R. Wang, "Towards efficient and reliable neural architecture search" (UCLA 2021),
chapter 2, over the checkpoints of a supernet run; and the health of predictor and pyramid of a
search. Each is a class with the protocol of `raynas.diagnostics.diagnostic.Diagnostic`.
"""

SUPERNET: dict[str, str] = {
    "skip_gap": "raynas.diagnostics.skip_gap:SkipGap",
    "tuning": "raynas.diagnostics.tuning:Tuning",
    "estimation": "raynas.diagnostics.estimation:Estimation",
    "strength": "raynas.diagnostics.strength:Strength",
    "strength_map": "raynas.diagnostics.strength_map:StrengthMap",
    "shuffle": "raynas.diagnostics.shuffle:Shuffle",
    "curvature": "raynas.diagnostics.curvature:Curvature",
    "trace": "raynas.diagnostics.trace:Trace",
    "trajectory": "raynas.diagnostics.trajectory:Trajectory",
}
"""Diagnostics of supernet runs, cheap ones first: the order in which ``all`` runs them."""

SEARCH: dict[str, str] = {
    "predictor": "raynas.diagnostics.predictor:Predictor",
    "levels": "raynas.diagnostics.levels:Levels",
    "saved": "raynas.diagnostics.saved:Saved",
}
"""Diagnostics of searches."""
