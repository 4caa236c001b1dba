"""What the functions share: names, and whose code a run folder may import."""

from collections.abc import Mapping
from typing import Any

from raynas.config import Section
from raynas.errors import ConfigError
from raynas.registry import foreign_code
from raynas.runs.folder import RunFolder

Named = str | Mapping[str, Any]
"""A name (ours, or ``module:Class``), or a mapping with a ``name`` and its options."""


def refuse_foreign_code(
    config: Section, folder: RunFolder, tables: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise `ConfigError` if a run folder's config names code outside raynas.

    Args:
        config: The config.
        folder: Where it was read.
        tables: Of each choice in it, the names that are ours.
    """
    for kind, table in tables.items():
        choice = getattr(config, kind)
        code = foreign_code(kind, choice.name, choice.options, table)
        if code is not None:
            raise ConfigError(
                f"{folder.config_name}: {kind} {code!r} is code outside raynas; "
                "pass --trust-code to import it"
            )
