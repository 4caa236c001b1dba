"""How architectures of the DARTS family are written: the compact text and the published literal.

The compact text is the canonical one. The literal is how papers and their code print genotypes; it
is read as data, nothing in it is run::

    normal:|op~source|op~source|+|…|+|…|+|…|;reduce:|…|+|…|+|…|+|…|
    Genotype(normal=[('op', source), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=…)

A published architecture may also be given by its name.
"""

import ast
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from raynas.errors import InvalidArchitectureError, nearest
from raynas.spaces.darts_cell import Cell, Pair, PlacedPair
from raynas.spaces.darts_ops import NODES
from raynas.spaces.published import PUBLISHED

_PAIR = re.compile(r"([^~|+;:]*)~(0|[1-9][0-9]{0,8})\|")
_NAME = re.compile(r"[A-Za-z_]\w*")
_LITERAL = re.compile(r"[\w.]*\s*\(")
_NUM_PAIRS = 2 * len(NODES)
_LONGEST_LITERAL = 10_000


class Genotype(NamedTuple):
    """An architecture as the field's code holds it; its `repr` is the published literal.

    Attributes:
        normal: Eight pairs of op and source state, two for each node.
        normal_concat: States that are concatenated to the output of a normal cell.
        reduce: The same of the reduction cell.
        reduce_concat: Likewise.
    """

    normal: list[Pair]
    normal_concat: range
    reduce: list[Pair]
    reduce_concat: range

    @classmethod
    def of(cls, normal: Cell, reduce: Cell) -> "Genotype":
        """Return the genotype of two cells."""
        first, second = ([pair for node in cell for pair in node] for cell in (normal, reduce))
        concat = range(NODES.start, NODES.stop)
        return cls(first, concat, second, concat)


def read_pairs(text: str, prefixes: Sequence[str]) -> list[list[PlacedPair]]:
    """Read the eight pairs of each cell, whichever way they are written.

    Args:
        text: A compact text, a literal, or the name of a published architecture.
        prefixes: What stands before each cell in a compact text; one if a cell serves as both.

    Raises:
        InvalidArchitectureError: with the place where it goes wrong.
    """
    if _NAME.fullmatch(text):
        text = _published(text)
    if not _LITERAL.match(text):
        return _read_compact(text, prefixes)
    normal, reduce = _read_literal(text)
    if len(prefixes) > 1:
        return [normal, reduce]
    if _sums(normal) != _sums(reduce):
        raise InvalidArchitectureError(
            "normal and reduce differ, but one cell serves as both (two_cells is false)"
        )
    return [normal]


def _published(name: str) -> str:
    if name not in PUBLISHED:
        raise InvalidArchitectureError(
            f"no architecture was published as {name[:40]!r}{nearest(name[:40], PUBLISHED)} "
            f"(known: {', '.join(PUBLISHED)})"
        )
    return PUBLISHED[name]


def _sums(pairs: Sequence[PlacedPair]) -> list[set[Pair]]:
    """Return what each node sums, wherever it was read."""
    both = (pairs[first : first + 2] for first in range(0, len(pairs), 2))
    return [{(op, source) for op, source, _ in node} for node in both]


def _read_compact(text: str, prefixes: Sequence[str]) -> list[list[PlacedPair]]:
    reader = _Reader(text, prefixes)
    cells = []
    for prefix in prefixes:
        reader.expect(prefix)
        pairs: list[PlacedPair] = []
        for node in range(len(NODES)):
            reader.expect("+|" if node else "|")
            pairs += [reader.pair(), reader.pair()]
        cells.append(pairs)
    reader.end()
    return cells


class _Reader:
    """Reads a text piece by piece."""

    def __init__(self, text: str, prefixes: Sequence[str]) -> None:
        self._text = text
        self._place = 0
        self._form = "".join(f"{prefix}|op~source|op~source|+|…" for prefix in prefixes)

    def expect(self, literal: str) -> None:
        if not self._text.startswith(literal, self._place):
            raise self._expected(repr(literal), len(literal))
        self._place += len(literal)

    def pair(self) -> PlacedPair:
        match = _PAIR.match(self._text, self._place)
        if match is None:
            raise self._expected("an op~source and '|'", 20)
        where = f"at character {self._place + 1}"
        self._place = match.end()
        return match[1], int(match[2]), where

    def end(self) -> None:
        if self._place < len(self._text):
            found = self._text[self._place : self._place + 20]
            raise InvalidArchitectureError(
                f"nothing may follow after character {self._place}, but {found!r} does"
            )

    def _expected(self, what: str, length: int) -> InvalidArchitectureError:
        found = self._text[self._place : self._place + length]
        return InvalidArchitectureError(
            f"expected {what} at character {self._place + 1}, not "
            f"{repr(found) if found else 'the end'} (form: {self._form})"
        )


def _read_literal(text: str) -> list[list[PlacedPair]]:
    """Read the pairs of the normal and of the reduction cell."""
    fields = _fields(text)
    for name in ("normal_concat", "reduce_concat"):
        if name in fields and _value(fields[name], name) not in (NODES, [*NODES], (*NODES,)):
            raise InvalidArchitectureError(
                f"{name} must be range(2, 6): a cell's output is the concatenation of its nodes"
            )
    return [_pairs(fields, name) for name in ("normal", "reduce")]


def _fields(text: str) -> dict[str, ast.expr]:
    """Return the arguments of ``Genotype(...)``, by name."""
    if len(text) > _LONGEST_LITERAL:
        raise InvalidArchitectureError(f"a literal of {len(text)} characters is too long")
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        where = f"line {error.lineno}, character {error.offset}"
        raise InvalidArchitectureError(f"no Python literal: {error.msg} ({where})") from None
    except (ValueError, RecursionError, MemoryError):
        raise InvalidArchitectureError("no Python literal") from None
    if (
        not isinstance(call, ast.Call)
        or _called(call) != "Genotype"
        or len(call.args) > len(Genotype._fields)
    ):
        raise InvalidArchitectureError(f"expected Genotype({', '.join(Genotype._fields)})")
    fields = dict(zip(Genotype._fields, call.args, strict=False))
    for keyword in call.keywords:
        name = str(keyword.arg)[:40]
        if name not in Genotype._fields or name in fields:
            what = "is given twice" if name in fields else "is no field of Genotype"
            raise InvalidArchitectureError(
                f"{name!r} {what}{nearest(name, Genotype._fields)} "
                f"(allowed: {', '.join(Genotype._fields)})"
            )
        fields[name] = keyword.value
    return fields


def _called(call: ast.Call) -> str:
    """Return the last part of the name that is called."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _pairs(fields: dict[str, ast.expr], name: str) -> list[PlacedPair]:
    found = _value(fields[name], name) if name in fields else None
    if not isinstance(found, list | tuple) or len(found) != _NUM_PAIRS:
        raise InvalidArchitectureError(
            f"{name} must be a list of {_NUM_PAIRS} pairs ('op', source), two for each node"
        )
    pairs = []
    for index, pair in enumerate(found):
        match pair:
            case (str() as op, int() as source) if type(source) is int and abs(source) < 100:
                pairs.append((op, source, f"at {name}[{index}]"))
            case _:
                raise InvalidArchitectureError(f"{name}[{index}] is no pair ('op', source)")
    return pairs


def _value(node: ast.expr, name: str) -> Any:
    """Return the value of a literal; ``range(a, b)`` is one here."""
    try:
        if isinstance(node, ast.Call) and _called(node) == "range" and not node.keywords:
            return range(*map(ast.literal_eval, node.args))
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise InvalidArchitectureError(
            f"{name} is no literal of lists, pairs, texts and numbers"
        ) from None
