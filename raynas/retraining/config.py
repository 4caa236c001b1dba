"""What a retraining is: architectures, protocol, data and seeds, read into a checked model."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from raynas.config import Choice, Section, merge_layers, read_choice, validate
from raynas.errors import ConfigError, nearest
from raynas.registry import lookup
from raynas.retraining.protocols import PROTOCOLS, Protocol
from raynas.retraining.sources import find
from raynas.search_config import ResourcesConfig
from raynas.spaces import SPACES
from raynas.spaces.darts import DartsFamily

DEFAULT_PROTOCOL = "plain"

_ONLY_IN_TRAINING = {"auxiliary": False, "drop_path": 0.0}
"""Options of a space that make no difference to the network that is delivered."""


class NamedArchitecture(Section):
    """An architecture to train.

    Attributes:
        text: Its canonical text.
        label: What to call it in tables.
    """

    text: str
    label: str


class RetrainConfig(Section):
    """All there is to know about a retraining before it starts.

    Attributes:
        architectures: What to train, in the order given.
        preset: The protocol it began with.
        space: What builds the networks, and of what size.
        data: What they are trained on, with options of `raynas.training.data.load_data`.
        epochs: Length of each training.
        seeds: Trainings of each architecture; number k of all has the same seed.
        training: How (`raynas.training.recipe.TrainingConfig`).
        resources: What each worker holds.
        workers: Networks side by side (None: as many as fit).
        workers_per_network: Workers that share one network's batches.
        seed: Every draw derives from it.
    """

    architectures: tuple[NamedArchitecture, ...] = Field(min_length=1)
    preset: str = DEFAULT_PROTOCOL
    space: Choice
    data: Choice
    epochs: int = Field(ge=1)
    seeds: int = Field(1, ge=1)
    training: dict[str, Any] = Field(default_factory=dict)
    resources: ResourcesConfig = ResourcesConfig()
    workers: int | None = Field(None, ge=1)
    workers_per_network: int = Field(1, ge=1)
    seed: int = Field(0, ge=0)

    def asks_for_the_same(self, other: "RetrainConfig") -> bool:
        """Return whether two ask for the same, however wide it is computed."""
        how_wide = {"workers", "resources"}
        return self.model_dump(exclude=how_wide) == other.model_dump(exclude=how_wide)

    @property
    def delivered_space(self) -> Choice:
        """The space without what only training needs."""
        options = self.space.model_dump()
        return Choice(**{**options, **{k: v for k, v in _ONLY_IN_TRAINING.items() if k in options}})


def resolve(
    given: Sequence[str],
    *,
    preset: str | None = None,
    space: Choice | None = None,
    top: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
    trust_code: bool = False,
) -> RetrainConfig:
    """Find the architectures and merge what the run, the preset and the user say, in that order.

    Args:
        given: See `raynas.retraining.sources.find`.
        preset: A protocol (None: ``plain``).
        space: What texts are of, with options; None: known by their form, or by the run.
        top: How many of each run folder.
        overrides: Values of `RetrainConfig`; they go before the preset's.
        assignments: ``key.sub=value``; they go before all.
        trust_code: Whether a space outside raynas that a file names may be imported.

    Raises:
        UsageError: what cannot be done, in one line.
    """
    name = DEFAULT_PROTOCOL if preset is None else preset
    if name not in PROTOCOLS:
        raise ConfigError(
            f"preset: unknown {name!r}{nearest(name, PROTOCOLS)} (allowed: {', '.join(PROTOCOLS)})"
        )
    protocol = PROTOCOLS[name]
    found = find(given, space=space, top=top, trust_code=trust_code)
    searched = found[0].space
    _check_family(searched, name, protocol)
    data = next((one.data for one in found if one.data is not None), None)
    layers: list[Mapping[str, Any]] = [
        {"space": searched.model_dump(), "preset": name, "epochs": protocol.epochs},
        {"training": dict(protocol.training), "space": dict(protocol.space)},
        {"architectures": [{"text": one.text, "label": one.label} for one in found]},
        {"data": protocol.data} if protocol.data is not None else {},
        {"data": data.model_dump()} if data is not None else {},
        {"space": space.model_dump()} if space is not None else {},
        overrides or {},
    ]
    merged = merge_layers(*layers, assignments=assignments)
    if "data" not in merged:
        raise ConfigError(f"data: preset {name!r} has none of its own: say which with --data")
    chosen = read_choice(merged["data"], "data")
    merged["data"] = {**protocol.data_options, **chosen.model_dump()}
    return _with_training_only_options(validate(RetrainConfig, merged))


def _check_family(space: Choice, name: str, protocol: Protocol) -> None:
    target = lookup("space", space.name, SPACES)
    if protocol.darts_only and not (isinstance(target, type) and issubclass(target, DartsFamily)):
        raise ConfigError(
            f"preset: {name!r} is a protocol for networks of the DARTS family, not for space "
            f"{space.name!r} (allowed there: {DEFAULT_PROTOCOL})"
        )


def _with_training_only_options(config: RetrainConfig) -> RetrainConfig:
    """Let the recipe alone say whether there is an auxiliary classifier and what is dropped."""
    target = lookup("space", config.space.name, SPACES)
    family = isinstance(target, type) and issubclass(target, DartsFamily)
    parameters = inspect.signature(DartsFamily if family else target).parameters
    wanted = {**_ONLY_IN_TRAINING, "auxiliary": bool(config.training.get("auxiliary_weight", 0))}
    options = {option: value for option, value in wanted.items() if option in parameters}
    return config.model_copy(update={"space": Choice(**{**config.space.model_dump(), **options})})
