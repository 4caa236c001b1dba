"""How configs are read: files, mappings, flags and assignments merged into a frozen, checked model.

Every section that names something pluggable is a `Choice`: a name (ours, or ``module:Class``) and
that thing's own options, checked against its signature. Unknown keys are errors with the nearest
allowed name.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from raynas.errors import ConfigError, nearest
from raynas.plain import parse_yaml

_Model = TypeVar("_Model", bound=BaseModel)


class Section(BaseModel):
    """A part of a config: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(BaseModel):
    """Something named, with options of its own; ``digits`` is short for ``{name: digits}``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The options beside the name."""
        return dict(self.model_extra or {})


Preset = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""A named layer of a config, or a function to it from what the layers above say."""


def load_config(
    model: type[_Model],
    presets: Mapping[str, Preset],
    source: Path | Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
) -> _Model:
    """Merge preset, file (or mapping), overrides and ``key.sub=value`` assignments, in that order.

    A section given as a bare name keeps no options of an earlier layer that named something else.

    Args:
        model: What the config is read into; its defaults are the lowest layer.
        presets: Named layers.
        source: A YAML file, or a mapping.
        preset: Name of one of `presets`.
        overrides: What flags or arguments say.
        assignments: Any other key, as text.

    Raises:
        ConfigError: unreadable YAML, an unknown key or preset, a value out of range.
    """
    if preset is not None and preset not in presets:
        raise ConfigError(
            f"preset: unknown {preset!r}{nearest(preset, presets)} "
            f"(allowed: {', '.join(sorted(presets))})"
        )
    if isinstance(source, Path):
        source = read_yaml(source)
    layers = [source or {}, overrides or {}, *map(_assignment, assignments)]
    lowest: Mapping[str, Any] = {}
    if preset is not None:
        chosen = presets[preset]
        lowest = chosen(_merged(layers)) if callable(chosen) else chosen
    return validate(model, _merged([model().model_dump(mode="json"), _merged([lowest, *layers])]))


def merge_layers(*layers: Mapping[str, Any], assignments: tuple[str, ...] = ()) -> dict[str, Any]:
    """Merge mappings, a later one going before an earlier, and ``key.sub=value`` before them all.

    Raises:
        ConfigError: an assignment that is none.
    """
    merged: dict[str, Any] = {}
    for layer in (*layers, *map(_assignment, assignments)):
        merged = _merge(merged, layer)
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping (safe loader); raises `ConfigError` in one line."""
    try:
        value = parse_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys, not a {type(value).__name__}")
    return value


def validate(model: type[_Model], value: Mapping[str, Any], where: str = "") -> _Model:
    """Build `model`; its first complaint becomes one `ConfigError` that names the key."""
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise ConfigError(where + _first_complaint(model, error)) from None


def built(model: type[_Model], given: "Mapping[str, Any] | _Model | None", where: str) -> _Model:
    """Return options as `model`: those given as one, or built from a mapping (None: defaults).

    Raises:
        ConfigError: see `validate`.
    """
    if isinstance(given, model):
        return given
    return validate(model, cast("Mapping[str, Any]", given or {}), where=where)


def read_choice(value: Any, where: str) -> Choice:
    """Return the choice that a file holds: a name, or a mapping with one and options.

    Raises:
        ConfigError: it is neither, in one line that begins with `where`.
    """
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {value!r} is neither a name nor a mapping with one"[:200])
    return validate(Choice, value, where=f"{where}.")


def construct(
    kind: str, target: Callable[..., Any], options: Mapping[str, Any], *given: Any, **named: Any
) -> Any:
    """Call `target` with a user's options, checked against its signature first.

    `given` and `named` are what raynas itself passes. A `named` value is left out if the target
    does not take it.

    Raises:
        ConfigError: an option it does not take, with the nearest it does; or a missing one.
    """
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {k: v for k, v in named.items() if open_ended or k in parameters}
    positional = list(parameters)[: len(given)]
    allowed = [
        name
        for name, parameter in parameters.items()
        if name not in positional
        and name not in named
        and parameter.kind is not parameter.VAR_KEYWORD
    ]
    for option in options:
        if option not in allowed and not open_ended:
            raise ConfigError(
                f"{kind}.{option}: unknown option{nearest(option, allowed)} "
                f"(allowed: {', '.join(allowed) or 'none'})"
            )
    missing = [
        name
        for name in allowed
        if parameters[name].default is inspect.Parameter.empty
        and name not in options
        and parameters[name].kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    if missing:
        raise ConfigError(f"{kind}.{missing[0]}: must be given")
    try:
        return target(*given, **named, **options)
    except TypeError as error:
        raise ConfigError(f"{kind}: {' '.join(str(error).split())}") from error


def _merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    return merged


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}  # options for what an earlier layer gave as a bare name
        if isinstance(old, Mapping) and "name" in old and isinstance(value, str):
            value = {"name": value}
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            renamed = "name" in value and "name" in old and value["name"] != old["name"]
            merged[key] = dict(value) if renamed else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _assignment(text: str) -> dict[str, Any]:
    path, separator, raw = text.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"--set {text!r}: write it as key.sub=value")
    try:
        value: Any = parse_yaml(raw)
    except ValueError as error:
        raise ConfigError(f"--set {path}: {raw[:60]!r} is not a YAML value: {error}") from None
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _first_complaint(model: type[BaseModel], error: ValidationError) -> str:
    complaint = error.errors()[0]
    path = [str(part) for part in complaint["loc"]]
    key = ".".join(path) or "config"
    if complaint["type"] == "extra_forbidden":
        allowed = list(_fields_at(model, path[:-1]))
        hint = nearest(path[-1], allowed)
        return f"{key}: unknown key{hint} (allowed: {', '.join(allowed)})"
    message = complaint["msg"].removeprefix("Value error, ")
    value = complaint.get("input")
    shown = "" if isinstance(value, Mapping) or complaint["type"] == "missing" else f" {value!r}"
    return f"{key}:{shown} {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], path: list[str]) -> Mapping[str, Any]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return {}
        inner = [
            t
            for t in (field.annotation, *get_args(field.annotation))
            if isinstance(t, type) and issubclass(t, BaseModel)
        ]
        if not inner:
            return {}
        model = inner[0]
    return model.model_fields
