"""`raynas export`: a trained network for use elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.errors import ConfigError, RunFolderError, nearest
from raynas.runs.folder import replace_file
from raynas.runs.remote import pushed
from raynas.storage import Location, location

if TYPE_CHECKING:
    from raynas.loading import Loaded

FORMATS = ("pt2", "onnx", "source")
"""What a network can be exported as."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        files: The export, and the model card last.
        max_difference: Largest difference of logits between the export and the network.
    """

    files: tuple[Location, ...]
    max_difference: float

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"files": [str(f) for f in self.files], "max_difference": self.max_difference}


def export(
    where: Location | str,
    format: str,
    *,
    out: Location | str | None = None,
    trust_code: bool = False,
) -> Export:
    """Write the best network of a run as a file that needs no raynas, and a model card.

    The export is run on a few batches, and must give the network's logits.

    Args:
        where: A run folder of a search or a retraining, its URI, or the `best.json` in it.
        format: ``pt2`` (torch.export), ``onnx`` (extra ``onnx``), or ``source`` (a Python file and
            safetensors).
        out: Folder to write to (None: ``export`` in the run folder).
        trust_code: Import a space outside raynas that the file names.

    Raises:
        UsageError: there is no network, no such format, a missing extra, or a network that cannot
            be exported so.
    """
    if format not in FORMATS:
        raise ConfigError(
            f"format: unknown {format!r}{nearest(format, FORMATS)} (allowed: {', '.join(FORMATS)})"
        )
    path = location(where)
    if path.is_dir() and (path / "config.yaml").exists() and not (path / "best.json").exists():
        raise RunFolderError(f"{path} has no best.json yet: no network has been trained far enough")
    from raynas.exporting import card, onnx_model
    from raynas.loading import load_with_facts

    if format == "onnx":
        onnx_model.check_installed()
    loaded = load_with_facts(path, trust_code=trust_code)
    manifest, config = card.read_run(loaded.folder)
    notes = notes_of(loaded.architecture.text, loaded.space.name, manifest)
    place = loaded.folder / "export" if out is None else location(out)
    if isinstance(place, Path):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{place}: cannot create it: {error.strerror}") from None
    with pushed(place, with_old=True) as folder:
        files, difference = _write(loaded, format, notes, folder)
        names = card.files_beside(folder, files, card.weights_id(loaded))
        text = card.model_card(loaded, manifest, config, card.latencies(loaded), names)
        replace_file(folder / card.CARD, text.encode())
    return Export(tuple(place / name for name in (*(f.name for f in files), card.CARD)), difference)


def _write(
    loaded: "Loaded", format: str, notes: dict[str, Any], folder: Path
) -> tuple[list[Path], float]:
    """Write the files of one format; returns them, and how far the logits are off."""
    from raynas.exporting import onnx_model, program, python_source

    target = folder / ("network.py" if format == "source" else f"network.{format}")
    files = [target, target.with_suffix(".safetensors")] if format == "source" else [target]
    for file in files:
        file.unlink(missing_ok=True)  # else a library writes into whatever else it may name
    try:
        if format == "source":
            difference = python_source.write_source(loaded, target, notes)
        else:
            write = program.write_program if format == "pt2" else onnx_model.write_onnx
            difference = write(loaded.network, loaded.task, target, notes)
    except BaseException:  # also a Ctrl-C: half an export must not look like one
        for file in files:
            file.unlink(missing_ok=True)
        raise
    return files, difference


def notes_of(architecture: str, space: str, manifest: Any) -> dict[str, Any]:
    """Return what an exported file says of itself, as JSON values."""
    from importlib.metadata import version

    data = manifest.get("data", {})
    kept = {name: data[name] for name in ("mean", "std") if name in data}
    return {"architecture": architecture, "space": space, "raynas": version("raynas"), **kept}
