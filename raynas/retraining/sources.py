"""Which architectures a user means: a text, a published name, a `best.json`, a run folder."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raynas.config import Choice, construct, read_choice, validate
from raynas.errors import (
    ConfigError,
    InvalidArchitectureError,
    RunFolderError,
    SpaceError,
    UsageError,
)
from raynas.plain import parse_json
from raynas.registry import foreign_code, lookup
from raynas.runs.folder import RunFolder
from raynas.runs.journal import read_journal, recorded
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.pool import Pool
from raynas.search_config import SearchConfig
from raynas.spaces import SPACES
from raynas.spaces.published import PUBLISHED
from raynas.spaces.space import SearchSpace
from raynas.storage import StorePath, location

_GUESSED = ("darts", "nasbench201", "nasbench101")
"""Spaces whose texts are known by their form."""

_FOR_SPEED = ("train_size", "valid_size")
"""Options of a search's data that a full training does not take over."""


@dataclass(frozen=True, slots=True)
class Found:
    """An architecture and where it is from.

    Attributes:
        text: As it was found; canonical once parsed.
        label: What to call it in tables.
        space: The space it is of, with the options it was searched with.
        data: What the search ran on, if there was one.
    """

    text: str
    label: str
    space: Choice
    data: Choice | None = None


def find(
    given: Sequence[str], *, space: Choice | None, top: int | None, trust_code: bool = False
) -> list[Found]:
    """Return the architectures that are meant, in the order given.

    Args:
        given: Texts, literals, published names, `best.json` files or run folders.
        space: What a text is of (None: known by its form).
        top: How many of each run folder, best first; None: the best one.
        trust_code: Whether a space outside raynas that a file names may be imported.

    Raises:
        UsageError: something is no architecture, or of another space than the rest.
    """
    if not given:
        raise ConfigError("retrain: name an architecture (a text, a run folder, DARTS_V2, …)")
    if top is not None and top < 1:
        raise ConfigError(f"top: {top} must be at least 1")
    found: list[Found] = []
    in_stores = {one: _from_store(one) for one in given}
    paths = [_existing(one, in_stores[one]) for one in given]
    for one, path in zip(given, paths, strict=True):
        if path is None:
            found.append(_of_text(one, space))
        elif path.is_dir():
            found += _of_folder(path, top or 1, trust_code)
        else:
            found.append(_of_file(path, trust_code))
    folders = [path for path in paths if path is not None and path.is_dir()]
    if top is not None and not folders:
        raise ConfigError("top: is for run folders, and none is given")
    return _of_one_space(found, space)


def make_space(choice: Choice) -> SearchSpace:
    """Return the space that a config names.

    Raises:
        ConfigError: there is none, or it takes other options.
    """
    space = construct("space", lookup("space", choice.name, SPACES), choice.options)
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"space: {choice.name!r} makes no SearchSpace")
    return space


def refuse_foreign(choice: Choice, where: object) -> None:
    """Raise `ConfigError` if a file names a space outside raynas."""
    code = foreign_code("space", choice.name, choice.options, SPACES)
    if code is not None:
        raise ConfigError(
            f"{where}: space {code!r} is code outside raynas; pass --trust-code to import it"
        )


def ranked(pool: Pool) -> list[Candidate]:
    """Return all that reached a level, the best of the highest level first (as `Pool.best`)."""
    reached = [candidate for candidate in pool if candidate.level_accuracy]
    return sorted(reached, key=lambda c: (-c.level, c.rank_key(c.level)))


def _from_store(given: str) -> RunFolder | None:
    """Return the run that is meant by a URI of it, or of its `best.json`; None: no URI."""
    place = location(given)
    if not isinstance(place, StorePath):
        return None
    run = RunFolder(place.parent if place.name.endswith(".json") else place, None)
    run.check_is_run()
    return run


def _existing(given: str, in_store: RunFolder | None) -> Path | None:
    """Return the file or folder that is meant; None if it is none, as a genotype is too long for.

    A text that is longer than a name may be makes `stat` fail (ENAMETOOLONG).
    """
    if in_store is not None:  # copies, as long as it lasts
        name = location(given).name
        return in_store.path / name if name.endswith(".json") else in_store.path
    path = Path(os.path.expanduser(given))  # unlike Path's, leaves a ~name of nobody as it is
    try:
        return path if path.exists() else None
    except OSError:
        return None


def _of_folder(path: Path, top: int, trust_code: bool) -> list[Found]:
    folder = RunFolder(path, None)
    kind = folder.read_manifest().get("kind", "search")
    if kind != "search":
        if top > 1:
            raise ConfigError(f"top: {path} is no search; its best.json names one architecture")
        return [_of_file(path / "best.json", trust_code)]
    config = validate(SearchConfig, folder.read_config(), where=f"{folder.config_name}: ")
    if "space" in folder.read_manifest().get("own_parts", []):
        raise RunFolderError(
            f"{path} was searched in a space that was passed as an object: "
            "give the architecture as a text, and --space module:Class"
        )
    if not trust_code:
        refuse_foreign(config.space, folder.config_name)
    pool = Pool(config.levels)
    history = read_journal(folder.journal)[0] if folder.journal.exists() else []
    for _ in recorded(pool, history, folder.journal):
        pass
    best = ranked(pool)
    if not best:
        raise RunFolderError(f"{path}: no architecture has finished a level yet")
    if len(best) < top:
        raise ConfigError(f"top: {top}, but {path} has {len(best)} that finished a level")
    name = path.resolve().name
    data = _without_cuts(config.data)
    return [
        Found(one.text, f"{name}#{place}" if top > 1 else name, config.space, data)
        for place, one in enumerate(best[:top], start=1)
    ]


def _of_file(path: Path, trust_code: bool) -> Found:
    facts = read_best(path)
    try:
        space, text = read_choice(facts["space"], "space"), str(facts["architecture"])
    except (ValueError, KeyError) as error:
        raise RunFolderError(f"{path}: not the best.json of a run: {error}") from None
    if not trust_code:
        refuse_foreign(space, path)
    data = None
    if (path.parent / "config.yaml").exists():
        stored = RunFolder(path.parent, None).read_config().get("data")
        data = None if stored is None else _without_cuts(read_choice(stored, f"{path}: data"))
    return Found(text, path.resolve().parent.name, space, data)


def read_best(path: Path) -> Mapping[str, Any]:
    """Read a `best.json`.

    Raises:
        RunFolderError: it is not there, or no JSON object.
    """
    try:
        facts = parse_json(path.read_text())
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RunFolderError(f"{path}: not the best.json of a run: {error}") from None
    if not isinstance(facts, dict):
        raise RunFolderError(f"{path}: not the best.json of a run")
    return facts


def _without_cuts(data: Choice) -> Choice:
    """Return a search's data without what only made the search shorter."""
    options = {k: v for k, v in data.model_dump().items() if k not in _FOR_SPEED}
    return Choice.model_validate(options)


def _of_text(text: str, space: Choice | None) -> Found:
    if text.endswith(".json") or (text.count("/") and "|" not in text):
        raise RunFolderError(f"{text}: no such run folder or best.json")
    if space is None:
        space = _guess(text)
    label = text if text in PUBLISHED else ""
    return Found(text, label, space)


def _guess(text: str) -> Choice:
    """Return the space in whose form an architecture is written."""
    reasons: dict[str, str] = {}
    for name in _GUESSED:
        choice = Choice(name=name)
        try:
            make_space(choice).parse(text)
        except InvalidArchitectureError as error:
            reasons[name] = str(error)
        else:
            return choice
    if text.isidentifier():  # a name: the DARTS family knows which there are
        raise InvalidArchitectureError(reasons["darts"])
    raise InvalidArchitectureError(
        f"{text[:60]!r} is no file and no architecture of {', '.join(_GUESSED)} "
        "(of another space? say which with --space)"
    )


def _of_one_space(found: Sequence[Found], asked: Choice | None) -> list[Found]:
    """Check that all are of one space, as the user named it; parse and name them, once each."""
    first = found[0].space
    for one in found:
        if asked is not None and one.space.name != asked.name:
            raise SpaceError(f"{_named(one)} is of space {one.space.name!r}, not {asked.name}")
        if one.space.name != first.name:
            raise SpaceError(
                f"{_named(one)} is of space {one.space.name!r}, but {_named(found[0])} of "
                f"{first.name!r}: retrain them apart"
            )
    searched = [one.space for one in found if one.data is not None] or [first]
    for other in searched:
        if other != searched[0]:
            raise ConfigError(
                f"space: the runs built networks of other sizes ({searched[0].options} and "
                f"{other.options}): retrain them apart"
            )
    space = make_space(searched[0])
    chosen: dict[str, Found] = {}
    for one in found:
        try:
            architecture = space.parse(one.text)
        except UsageError as error:
            raise type(error)(f"{_named(one)}: {error}") from None
        number = len(chosen) + 1
        label = one.label or f"arch{number}"
        taken = any(label == other.label for other in chosen.values())
        chosen.setdefault(
            space.key(architecture),
            Found(
                architecture.text,
                f"{label}-{number}" if taken else label,
                searched[0],
                one.data,
            ),
        )
    return list(chosen.values())


def _named(found: Found) -> str:
    return found.label or repr(found.text[:40])
