"""arch2vec: embed architectures with a variational graph autoencoder, without any accuracy.

Yan et al., "Does unsupervised architecture representation learning help neural architecture
search?", NeurIPS 2020. The encoder is a graph isomorphism network on ``Ã = A + Aᵀ``::

    h' = relu(batchnorm(MLP((1 + ε) h + Ã h)))

with a normal posterior per node; the decoder gives ``sigmoid(z zᵀ)`` for Ã and a softmax of a
linear map for the labels. The loss is the mean binary cross-entropy of the entries of Ã, plus the
mean cross-entropy of the labels, plus a lightly weighted Kullback-Leibler term. An architecture's
embedding is the mean over its nodes of the posterior mean.

Differences from the public code: labels are decoded by a softmax (it configures one but applies the
adjacency's sigmoid), the diagonal of Ã is left out of the loss (``z zᵀ`` cannot say that a node is
not linked to itself), nodes that pad small graphs take part in nothing.

Shapes: B graphs, N nodes of each, R real nodes of a batch, L labels, H hidden, Z latent.
"""

import itertools
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
from raynas.spaces.space import Graph, stack_graphs

_GRAPHS_AT_ONCE = 512
"""Graphs embedded together: their states fit a core's cache."""

_LARGEST_GRADIENT = 5.0


class AutoencoderConfig(Section):
    """What the autoencoder is and how it is pre-trained; the defaults are arch2vec's.

    Attributes:
        hidden: H, width of the encoder.
        layers: GIN layers.
        latent: Z, dimensions of a node's posterior, and of an embedding.
        lr: Of Adam.
        batch_size: Graphs of a step.
        epochs: Passes over the graphs.
        kl_weight: Of the divergence of a node's posterior from the standard normal (published:
            one in the nodes of a batch).
        seed: Of weights, batches and latent draws.
    """

    hidden: int = Field(128, ge=1)
    layers: int = Field(4, ge=1)
    latent: int = Field(16, ge=1)
    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(32, ge=2)
    epochs: int = Field(8, ge=1)
    kl_weight: float = Field(0.005, ge=0)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True, eq=False)
class DenseGraphs:
    """Graphs as arrays, padded to the largest.

    Attributes:
        links_BNN: Symmetrised adjacency, 0 or 1.
        labels_BN: Node labels, -1 where there is no node.
    """

    links_BNN: Tensor
    labels_BN: Tensor

    def __len__(self) -> int:
        return len(self.labels_BN)

    @classmethod
    def of(cls, graphs: Sequence[Graph]) -> "DenseGraphs":
        """Stack `graphs` (at least one)."""
        adjacency_BNN, labels_BN = stack_graphs(graphs)
        links_BNN = adjacency_BNN | adjacency_BNN.transpose(0, 2, 1)
        return cls(torch.from_numpy(links_BNN), torch.from_numpy(labels_BN))

    def select(self, chosen: Tensor | slice) -> "DenseGraphs":
        """Return some of the graphs."""
        return DenseGraphs(self.links_BNN[chosen], self.labels_BN[chosen])


class GinLayer(nn.Module):
    """``relu(batchnorm(MLP((1 + ε) h + Ã h)))`` of the real nodes; padding stays zero.

    Args:
        num_inputs: Width of the states that come in.
        num_outputs: Width of those that go out, and of the MLP's hidden layer.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.zeros(()))
        self.mlp = nn.Sequential(
            nn.Linear(num_inputs, num_outputs), nn.ReLU(), nn.Linear(num_outputs, num_outputs)
        )
        self.norm = nn.BatchNorm1d(num_outputs)

    def forward(self, states_BNH: Tensor, links_BNN: Tensor, real_R: Tensor) -> Tensor:
        """Return new states (`B x N x H`); `real_R` lists the real nodes among all B N."""
        mixed_BNH = torch.baddbmm(states_BNH * (1 + self.epsilon), links_BNN, states_BNH)
        rows_RH = F.relu(self.norm(self.mlp(mixed_BNH.flatten(0, 1).index_select(0, real_R))))
        count = mixed_BNH.shape[0] * mixed_BNH.shape[1]
        padded = rows_RH.new_zeros(count, rows_RH.shape[1]).index_copy(0, real_R, rows_RH)
        return padded.view(*mixed_BNH.shape[:2], -1)


class GraphAutoencoder(nn.Module):
    """Graphs to a posterior per node, and back.

    Args:
        num_labels: L.
        config: Sizes.
    """

    def __init__(self, num_labels: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.num_labels = num_labels
        widths = [num_labels, *[config.hidden] * config.layers]
        self.layers = nn.ModuleList(GinLayer(*pair) for pair in itertools.pairwise(widths))
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)
        self.labels = nn.Linear(config.latent, num_labels)

    def encode(self, graphs: DenseGraphs) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of each node's posterior (`B x N x Z`)."""
        real_BN = graphs.labels_BN >= 0
        states = F.one_hot(graphs.labels_BN.clamp(min=0), self.num_labels).float()
        states = states * real_BN.unsqueeze(2)
        links_BNN = graphs.links_BNN.float()
        real_R = real_BN.flatten().nonzero().squeeze(1)
        for layer in self.layers:
            states = layer(states, links_BNN, real_R)
        return self.mean(states), self.log_variance(states)

    def decode(self, latent_BNZ: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the links (`B x N x N`) and of the labels (`B x N x L`)."""
        return torch.bmm(latent_BNZ, latent_BNZ.transpose(1, 2)), self.labels(latent_BNZ)

    def loss(self, graphs: DenseGraphs, kl_weight: float) -> Tensor:
        """Return minus the weighted evidence bound, for one latent draw."""
        mean, log_variance = self.encode(graphs)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        links, labels = self.decode(latent)
        real_BN = graphs.labels_BN >= 0
        pairs_BNN = real_BN.unsqueeze(1) & real_BN.unsqueeze(2)
        pairs_BNN = pairs_BNN & ~torch.eye(real_BN.shape[1], dtype=torch.bool)
        linked = F.binary_cross_entropy_with_logits(
            links[pairs_BNN], graphs.links_BNN[pairs_BNN].float()
        )
        labelled = F.cross_entropy(labels[real_BN], graphs.labels_BN[real_BN])
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance)[real_BN].sum(1).mean() / 2
        return linked + labelled + kl_weight * divergence

    @torch.no_grad()
    def embed(self, graphs: DenseGraphs) -> NDArray[np.float64]:
        """Return the embedding of each graph (`B x Z`)."""
        self.eval()
        found = []
        for start in range(0, len(graphs), _GRAPHS_AT_ONCE):
            part = graphs.select(slice(start, start + _GRAPHS_AT_ONCE))
            real = (part.labels_BN >= 0).unsqueeze(2)
            mean, _ = self.encode(part)
            found.append((mean * real).sum(1) / real.sum(1))
        embedded: NDArray[np.float64] = torch.cat(found).double().numpy()
        return embedded


def pretrain(graphs: DenseGraphs, num_labels: int, config: AutoencoderConfig) -> GraphAutoencoder:
    """Fit an autoencoder to at least two graphs; it depends on the arguments alone."""
    with seeded(config.seed, torch.device("cpu")):
        network = GraphAutoencoder(num_labels, config)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
        network.train()
        for _ in range(config.epochs):
            for chosen in torch.randperm(len(graphs)).split(config.batch_size):  # type: ignore[no-untyped-call]
                optimizer.zero_grad(set_to_none=True)
                loss = network.loss(graphs.select(chosen), config.kl_weight)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
                optimizer.step()
    return network.eval()
