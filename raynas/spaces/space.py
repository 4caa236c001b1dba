"""What a search space must answer: sample, mutate, parse, identify, encode, build (Protocol).

A user's own class with these members works wherever ours do; `raynas.testing.SpaceContract`
checks it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from raynas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class TaskShape:
    """What a network must fit: the images that come in and the classes that go out."""

    in_channels: int
    image_size: int
    num_classes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """An architecture as a labelled directed graph of N nodes.

    Attributes:
        adjacency: `N x N` int8; ``adjacency[i, j] == 1`` if node i feeds node j.
        labels: `N` int64 node labels in ``[0, space.num_labels)``.
    """

    adjacency: NDArray[np.int8]
    labels: NDArray[np.int64]


@runtime_checkable
class SearchSpace(Protocol):
    """What can be built.

    Attributes:
        name: Name of the space; ``Architecture.space`` of everything it makes.
        num_labels: Number of distinct node labels of `graph` (size of the one-hot encoding).
    """

    name: str
    num_labels: int

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one architecture at random."""
        ...

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a copy that differs in exactly one choice (one op or one edge)."""
        ...

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return every architecture one choice away, in a fixed order."""
        ...

    def parse(self, text: str) -> Architecture:
        """Read an architecture; raises `InvalidArchitectureError` that says where it is wrong."""
        ...

    def key(self, architecture: Architecture) -> str:
        """Return the identity used to de-duplicate: equal for architectures that compute the
        same function for every choice of weights."""
        ...

    def graph(self, architecture: Architecture) -> Graph:
        """Encode the architecture for a graph predictor."""
        ...

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build a freshly initialised network (`B x C x H x W` images to `B x classes` logits)."""
        ...


@runtime_checkable
class EnumerableSpace(SearchSpace, Protocol):
    """A space small enough to be listed whole."""

    def __len__(self) -> int:
        """Number of architectures (texts, not keys)."""
        ...

    def __iter__(self) -> Iterator[Architecture]:
        """Yield every architecture in index order."""
        ...


def stack_graphs(graphs: Sequence[Graph]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Stack graphs into ``adjacency`` `B x N x N` and ``labels`` `B x N`, padded with label -1."""
    num_nodes = max(len(graph.labels) for graph in graphs)
    adjacency = np.zeros((len(graphs), num_nodes, num_nodes), dtype=np.int8)
    labels = np.full((len(graphs), num_nodes), -1, dtype=np.int64)
    for row, graph in enumerate(graphs):
        size = len(graph.labels)
        adjacency[row, :size, :size] = graph.adjacency
        labels[row, :size] = graph.labels
    return adjacency, labels
