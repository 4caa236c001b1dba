"""Where Ray Tune and Ray Train keep what is theirs: below a place, local or in a store."""

from typing import Any

from raynas.storage import Location, StorePath


def as_storage(place: Location) -> dict[str, Any]:
    """Return a place as the arguments that `RunConfig` takes."""
    if isinstance(place, StorePath):
        return {"storage_path": place.key, "storage_filesystem": place.filesystem}
    return {"storage_path": str(place.resolve())}
