"""From a trained supernet to an architecture: which op each edge gets, which edges a node keeps."""

from typing import Any

SELECTIONS: dict[str, Any] = {
    "magnitude": "raynas.selection.magnitude:Magnitude",
    "perturbation": "raynas.selection.perturbation:Perturbation",
}
