"""From a name in a config to an object: one literal dict per kind, plus ``module:Class``.

Inside raynas objects are passed; names exist only in YAML and on the command line.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from raynas.errors import ConfigError, nearest


def lookup(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return ``table[name]``, or the object that ``module:attribute`` names.

    Values of `table` may themselves be ``"module:attribute"`` strings, so that a table can list
    a class whose module is heavy to import.

    Raises:
        ConfigError: no such name (the allowed ones and the nearest are listed), or the module
            or attribute cannot be imported.
    """
    target = table.get(name, name)
    if not isinstance(target, str):
        return target
    if ":" not in target:
        allowed = ", ".join(sorted(table))
        raise ConfigError(
            f"unknown {kind} {name!r}{nearest(name, table)} "
            f"(allowed: {allowed}, or module:Class of your own)"
        )
    return load_object(kind, target)


def load_object(kind: str, path: str) -> Any:
    """Import the object that ``module:attribute`` names."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{kind} {path!r}: cannot import {module_name!r}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        names = [n for n in vars(module) if not n.startswith("_")]
        raise ConfigError(
            f"{kind} {path!r}: {module_name!r} has no {attribute!r}{nearest(attribute, names)}"
        ) from None


def foreign_code(
    kind: str, name: str, options: Mapping[str, Any], table: Mapping[str, Any]
) -> str | None:
    """Return the first piece of code outside raynas that a choice would import; None if none.

    Whatever is no name in `table` counts as foreign, also below ``raynas.``: a function in there
    may itself import what its options say. An entry of the table whose options may name code says
    so itself (``code_in(options)``).
    """
    if name not in table:
        return name if ":" in name else None
    target = lookup(kind, name, table)
    named: list[str] = target.code_in(options) if hasattr(target, "code_in") else []
    return named[0] if named else None
