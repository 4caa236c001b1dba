"""Plain values out of texts that anybody may have written: YAML and JSON, and nothing but data.

A config is small and shallow. Whatever is not (nesting beyond reason, aliases that unfold to
gigabytes, numbers of thousands of digits) is refused before it can cost anything.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import yaml

_LONGEST = 1_000_000
"""Characters of a YAML text; its reader takes some ten seconds for so many."""

_MOST_NODES = 200_000
"""Values of a YAML text, an alias counted as all it stands for."""

_DEEPEST = 32
_MOST_BITS = 64


def parse_yaml(text: str) -> Any:
    """Read a YAML text with the safe loader.

    Returns:
        None, a bool, an int of at most 64 bits, a float, a text, or lists and mappings of those.

    Raises:
        ValueError: it is no YAML, or more than plain values; one line.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text)} characters; a config has at most {_LONGEST}")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _unfolded(node, {}, 0)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from None
    except RecursionError:
        raise ValueError(f"it nests deeper than {_DEEPEST} levels") from None
    except (ValueError, OverflowError) as error:  # a day that is none, an int of 5,000 digits
        raise ValueError(_one_line(error)) from None
    _check_plain(value)
    return value


def parse_json(text: str | bytes) -> Any:
    """Read a JSON text.

    Raises:
        ValueError: it is no JSON, or nests too deeply; one line.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def _unfolded(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return how many values a node stands for, aliases unfolded."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        if depth > _DEEPEST:
            raise ValueError(f"it nests deeper than {_DEEPEST} levels")
        known[id(node)] = 0  # while it is looked into
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_unfolded(part, known, depth + 1) for part in parts)
    size = known[id(node)]
    if size == 0:
        raise ValueError("an alias stands for what it is in")
    if size > _MOST_NODES:
        raise ValueError(f"its aliases unfold to more than {_MOST_NODES} values")
    return size


def _check_plain(value: Any) -> None:
    """Raise `ValueError` at what no config holds: dates, sets, bytes, huge numbers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_plain(key)
            _check_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner)
    elif isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise ValueError(f"a number of {value.bit_length()} bits is too large")
    elif value is not None and not isinstance(value, str | float):
        raise ValueError(f"a {type(value).__name__} is no value of a config: quote it")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def check_fields(fields: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    """Raise `ValueError` unless what is there of a record is of the right kind.

    Args:
        fields: As they came out of JSON; those without a kind, and missing ones, may be anything.
        kinds: A name in `KINDS` for each field.
    """
    for name, kind in kinds.items():
        if name in fields and not KINDS[kind](fields[name]):
            raise ValueError(f"{name} is {repr(fields[name])[:60]}, no {kind}")


def _is_number(value: Any) -> bool:
    """Numbers as `float` holds them; NaN and infinity are some."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() <= _MOST_BITS
    return isinstance(value, float)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


KINDS: dict[str, Callable[[Any], bool]] = {
    "whole number": _is_count,
    "number": lambda value: _is_number(value) and math.isfinite(value),
    "numbers by name": _is_metrics,
    "text": lambda value: isinstance(value, str),
    "text or nothing": lambda value: value is None or isinstance(value, str),
    "true or false": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "list of rows of whole numbers": lambda value: (
        isinstance(value, list)
        and all(isinstance(row, list) and all(map(_is_count, row)) for row in value)
    ),
    "mapping": lambda value: isinstance(value, dict),
    "mapping or nothing": lambda value: value is None or isinstance(value, dict),
}
"""What a field of a record can be, by what messages call it."""
