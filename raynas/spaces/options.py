"""Checks that options of several spaces share."""

from raynas.errors import SpaceError


def whole_number(space: str, option: str, value: int, *, least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `least`.

    Args:
        space: Name of the space, for the message.
        option: Name of the option, for the message.
        value: What the user gave.
        least: The smallest allowed.

    Raises:
        SpaceError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpaceError(
            f"{space}: {option} must be a whole number of at least {least}, not {value!r}"
        )
    return value
