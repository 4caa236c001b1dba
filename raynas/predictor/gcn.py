"""BRP-NAS's binary predictor: a graph convolutional network that says which of two is better.

Dudziak et al., "BRP-NAS: prediction-based NAS using GCNs", NeurIPS 2020. A global node that every
node feeds is added to the graph; one layer, on node states `h`::

    h' = dropout(relu(norm(W (h + Aᵀ h) + b)))

and a graph's embedding is the last state of the global node. Two embeddings side by side go
through a linear map to two logits; the target is the softmax of the two accuracies in units of
`temperature`, the loss the Kullback-Leibler divergence over ordered pairs.

The map being linear, a pair's log-odds are ``u·h₁ + v·h₂ + c``. So the win probability against any
opponent rises with ``u·h``, and with both orders of a pair taken together the comparator is a
difference of scores ``(u - v)·h / 2``: it has no cycles, and one sort ranks a space exactly as a
tournament would.

As in `raynas.predictor.model`, linear maps are applied before sums and nodes with like surroundings
are computed once. Here only what feeds a node surrounds it, and of the last layer only the global
nodes are needed, so far fewer states are left. Dropout is drawn once a distinct state.

Shapes: B graphs, N nodes of each, P pairs, H hidden.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from raynas.config import Section
from raynas.networks.seeding import seeded
from raynas.predictor.metrics import kendall_tau
from raynas.predictor.model import Gather
from raynas.seeds import derive_rng, derive_seed
from raynas.spaces.space import Graph, stack_graphs

Floats = NDArray[np.float64]


class GcnConfig(Section):
    """What the predictor is and how it is fitted.

    The defaults fit a hundred architectures in about a second on one core. Published are 4 layers
    of 600, lr 3.5e-4, batches of 64 pairs and all pairs an epoch: half a minute to minutes, and
    no better. On graphs that keep their skips and empty edges two layers rank better than four
    (NAS-Bench-201, 60 trained: tau .67 and .53; with width and batches as published .68 and .61).

    Attributes:
        hidden: H, width of the graph network.
        layers: Graph convolutions.
        dropout: After each.
        lr: Of AdamW, falling to 0 along a cosine.
        weight_decay: Likewise.
        batch_size: Pairs of a step (None: all of the epoch's).
        max_pairs: Pairs of an epoch, at most; drawn anew each time (None: all).
        epochs: At most that many.
        patience: Epochs without a better held-out loss before it stops.
        min_epochs: Epochs it takes in any case.
        held_out: Share of the architectures held out to stop early by.
        temperature: Difference of accuracies that counts as one logit.
    """

    hidden: int = Field(128, ge=1)
    layers: int = Field(2, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    batch_size: int | None = Field(None, ge=1)
    max_pairs: int | None = Field(None, ge=1)
    epochs: int = Field(250, ge=1)
    patience: int = Field(35, ge=1)
    min_epochs: int = Field(20, ge=0)
    held_out: float = Field(0.1, ge=0, lt=1)
    temperature: float = Field(0.01, gt=0)


@dataclass(frozen=True, slots=True, eq=False)
class FlowSet:
    """Graphs with a global node, made ready for a network of so many layers.

    Attributes:
        labels: int64 labels of the distinct states before the first layer.
        layers: Sums of states of the layer before, the node's own and its sources'; one entry a
            layer. Rows of the last are the distinct global nodes.
        graph_state: `B` int64 row of the last layer that is the graph's global node.
    """

    labels: Tensor
    layers: tuple[Gather, ...]
    graph_state: Tensor

    def __len__(self) -> int:
        return len(self.graph_state)

    @classmethod
    def of(cls, graphs: Sequence[Graph], num_labels: int, num_layers: int) -> "FlowSet":
        """Add the global nodes (label `num_labels`) and find which states are distinct."""
        links_BNN, labels_BN = _with_global_node(*stack_graphs(graphs), num_labels)
        real_BN = labels_BN >= 0
        labels, colours = np.unique(labels_BN[real_BN], return_inverse=True)
        colours_BN = np.zeros(labels_BN.shape, dtype=np.int64)
        colours_BN[real_BN] = colours
        num_colours = len(labels)
        layers = []
        for depth in range(num_layers):
            if depth == num_layers - 1:
                real_BN = np.zeros_like(real_BN)
                real_BN[:, -1] = True
            # A multiset's hash is the sum of random words of its members (see `GraphSet`).
            words = np.random.default_rng([num_colours, depth]).integers(
                0, 2**64, num_colours, dtype=np.uint64
            )
            signature_BN = np.einsum("bij,bi->bj", links_BNN, words[colours_BN])
            _, first, inverse = np.unique(
                signature_BN[real_BN], return_index=True, return_inverse=True
            )
            graph, node = (axis[first] for axis in np.nonzero(real_BN))
            layers.append(_gather(links_BNN[graph, :, node], colours_BN[graph], num_colours))
            colours_BN = np.zeros_like(colours_BN)
            colours_BN[real_BN] = inverse
            num_colours = len(first)
        return cls(torch.from_numpy(labels), tuple(layers), torch.from_numpy(colours_BN[:, -1]))


def _with_global_node(
    adjacency_BNN: NDArray[np.int8], labels_BN: NDArray[np.int64], label: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return links (each node to itself, too) and labels with a last node that all feed."""
    real_BN = labels_BN >= 0
    links_BNN = np.pad(adjacency_BNN.astype(np.uint64), ((0, 0), (0, 1), (0, 1)))
    links_BNN[:, :-1, -1] = real_BN
    links_BNN += np.eye(links_BNN.shape[1], dtype=np.uint64)
    return links_BNN, np.pad(labels_BN, ((0, 0), (0, 1)), constant_values=label)


def _gather(links: NDArray[np.uint64], colours: NDArray[np.int64], num_inputs: int) -> Gather:
    rows, columns = np.nonzero(links)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(links)))])
    return Gather(torch.from_numpy(colours[rows, columns]), torch.from_numpy(offsets), num_inputs)


class BinaryGcn(nn.Module):
    """Graphs to embeddings, and pairs of embeddings to logits.

    Args:
        num_labels: Node labels of the space's graphs.
        config: Sizes.
    """

    def __init__(self, num_labels: int, config: GcnConfig) -> None:
        super().__init__()
        hidden, rest = config.hidden, range(config.layers - 1)
        self.embed = nn.Embedding(num_labels + 1, hidden)  # the first layer's map of one-hot labels
        self.maps = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in rest)
        self.biases = nn.ParameterList(torch.zeros(hidden) for _ in range(config.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * hidden, 2)

    def forward(self, graphs: FlowSet) -> Tensor:
        """Return the embedding of each graph (`B x H`)."""
        states = self._combine(0, self.embed(graphs.labels), graphs.layers[0])
        for depth, (linear, gather) in enumerate(
            zip(self.maps, graphs.layers[1:], strict=True), start=1
        ):
            states = self._combine(depth, linear(states), gather)
        return states.index_select(0, graphs.graph_state)

    def _combine(self, depth: int, mapped: Tensor, gather: Gather) -> Tensor:
        summed = gather.apply(mapped) + self.biases[depth]
        states: Tensor = self.dropout(F.relu(self.norms[depth](summed)))
        return states

    def log_probabilities(self, embedded: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return log probabilities that the first, and the second, is better (`P x 2`)."""
        left, right = self.head.weight.chunk(2, dim=1)
        logits = (embedded @ left.T)[first] + (embedded @ right.T)[second] + self.head.bias
        return F.log_softmax(logits, dim=1)

    def scores(self, embedded: Tensor) -> Tensor:
        """Return what differs by the symmetrised log-odds of a pair (`B`)."""
        left, right = self.head.weight.chunk(2, dim=1)
        return embedded @ ((left[0] - left[1]) - (right[0] - right[1])) / 2


class BinaryPredictor:
    """Ranks graphs by a comparator of pairs.

    Args:
        num_labels: Node labels of the space's graphs.
        config: What it is and how it is fitted.
    """

    def __init__(self, num_labels: int, config: GcnConfig | None = None) -> None:
        self.config = config or GcnConfig()
        self.num_labels = num_labels
        self._network: BinaryGcn | None = None

    def fit(self, graphs: Sequence[Graph], accuracy: Floats, seed: int) -> dict[str, float | None]:
        """Fit new weights to at least two graphs of `accuracy` (fractions, not all equal).

        Returns:
            Facts of the fit: Kendall's tau of those held out (None if undefined), how many,
            the epoch kept and the training loss there.
        """
        config = self.config
        data = FlowSet.of(graphs, self.num_labels, config.layers)
        draw = derive_rng(seed, "pairs")
        held_out = np.zeros(len(accuracy), dtype=bool)
        num_held_out = min(round(config.held_out * len(accuracy)), len(accuracy) - 2)
        held_out[draw.choice(len(accuracy), num_held_out, replace=False)] = True
        with seeded(derive_seed(seed, "weights"), torch.device("cpu")):
            self._network = BinaryGcn(self.num_labels, config)
            epoch, loss = self._descend(data, torch.from_numpy(accuracy), held_out, draw)
        tau = kendall_tau(self.score(data)[held_out], accuracy[held_out])
        return {
            "kendall_tau": None if math.isnan(tau) else tau,
            "num_held_out": num_held_out,
            "epochs": epoch,
            "loss": loss,
        }

    @torch.no_grad()
    def score(self, graphs: FlowSet) -> Floats:
        """Return a score of each graph; only the order counts."""
        assert self._network is not None
        network = self._network.eval()
        scores: Floats = network.scores(network(graphs)).double().numpy()
        return scores

    def _descend(
        self,
        data: FlowSet,
        accuracy: Tensor,
        held_out: NDArray[np.bool_],
        draw: np.random.Generator,
    ) -> tuple[int, float]:
        """AdamW under a cosine; keep the weights that are best on the pairs held out."""
        config, network = self.config, self._network
        assert network is not None
        outside = held_out[:, None] | held_out
        different = ~np.eye(len(accuracy), dtype=bool)
        learnt = torch.from_numpy(np.argwhere(different & ~outside))
        checked = torch.from_numpy(np.argwhere(different & outside))
        logits = accuracy / config.temperature
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
        best, best_epoch, best_loss = math.inf, 0, math.nan
        kept = copy.deepcopy(network.state_dict())
        for epoch in range(1, config.epochs + 1):
            order = torch.from_numpy(draw.permutation(len(learnt))[: config.max_pairs])
            loss = self._epoch(network.train(), data, logits, learnt[order], optimizer)
            cosine.step()
            judged = loss
            if len(checked):
                with torch.no_grad():
                    judged = float(_loss(network.eval(), data, logits, checked))
            if judged < best:
                best, best_epoch, best_loss = judged, epoch, loss
                kept = copy.deepcopy(network.state_dict())
            elif epoch > config.min_epochs and epoch - best_epoch >= config.patience:
                break
        network.load_state_dict(kept)
        return best_epoch, best_loss

    def _epoch(
        self,
        network: BinaryGcn,
        data: FlowSet,
        logits: Tensor,
        pairs: Tensor,
        optimizer: torch.optim.Optimizer,
    ) -> float:
        """Learn the pairs (`P x 2` positions) once; returns their mean loss."""
        total = 0.0
        size = self.config.batch_size or len(pairs)
        for start in range(0, len(pairs), size):
            batch = pairs[start : start + size]
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(network, data, logits, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        return total / len(pairs)


def _loss(network: BinaryGcn, data: FlowSet, logits: Tensor, pairs: Tensor) -> Tensor:
    """Return the mean divergence from the softmax of each pair's logits."""
    found = network.log_probabilities(network(data), pairs[:, 0], pairs[:, 1])
    target = torch.softmax(logits[pairs], dim=1).to(found.dtype)
    return F.kl_div(found, target, reduction="batchmean")
