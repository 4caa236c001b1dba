"""Weight sharing: networks that hold every op of every edge, and the methods that train them."""

from typing import Any

METHODS: dict[str, Any] = {
    "darts": "raynas.supernets.darts:Darts",
    "fixed": "raynas.supernets.fixed:FixedAlpha",
    "sdarts_rs": "raynas.supernets.sdarts:SdartsRandom",
    "sdarts_adv": "raynas.supernets.sdarts:SdartsAdversarial",
    "sgas": "raynas.supernets.sgas:Sgas",
    "drnas": "raynas.supernets.drnas:DrNas",
    "drnas_progressive": "raynas.supernets.drnas:ProgressiveDrNas",
    "pc_darts": "raynas.supernets.pc_darts:PcDarts",
    "robust": "raynas.supernets.robust:RobustDarts",
    "gdas": "raynas.supernets.gdas:Gdas",
}
