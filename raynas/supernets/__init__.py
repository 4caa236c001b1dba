"""Weight sharing: networks that hold every op of every edge, and the methods that train them."""

from typing import Any

METHODS: dict[str, Any] = {
    "darts": "raynas.supernets.darts:Darts",
}
