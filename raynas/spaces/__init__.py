"""What architectures exist: search spaces as pure Python, without torch."""

from typing import Any

SPACES: dict[str, Any] = {
    "cell": "raynas.spaces.cell_space:CellSpace",
    "nasbench101": "raynas.spaces.nasbench101:NasBench101",
    "nasbench201": "raynas.spaces.nasbench201:NasBench201",
    "darts": "raynas.spaces.darts:DartsSpace",
    "s1": "raynas.spaces.darts:S1Space",
    "s2": "raynas.spaces.darts:S2Space",
    "s3": "raynas.spaces.darts:S3Space",
    "s4": "raynas.spaces.darts:S4Space",
}
