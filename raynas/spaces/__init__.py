"""What architectures exist: search spaces as pure Python, without torch."""

from typing import Any

SPACES: dict[str, Any] = {"nasbench201": "raynas.spaces.nasbench201:NasBench201"}
