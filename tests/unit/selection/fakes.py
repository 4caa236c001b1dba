"""Supernets under training, with and without a network, for tests of selection."""

import copy
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from raynas.seeds import derive_rng
from raynas.spaces.cell import NONE
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.candidates import BatchScores
from raynas.supernets.decisions import Decisions

TASK = TaskShape(in_channels=1, image_size=8, num_classes=4)


def without_times(value):
    """A record without what no two runs share."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "time_s"}
    return [without_times(v) for v in value] if isinstance(value, list) else value


class KeepTwo(CellSpace):
    """Cells of five nodes that keep two edges each, as those of DARTS do, but quick."""

    name = "keep_two"

    def __init__(self, ops=("none", "skip_connect", "nor_conv_1x1")):
        super().__init__(ops=ops, nodes=5, channels=4, stages=1, cells_per_stage=1)

    @property
    def kinds(self):
        return (replace(super().kinds[0], keep=2),)

    def assemble(self, chosen):
        edges = range(self.kinds[0].num_edges)
        return super().assemble([{e: chosen[0].get(e, NONE) for e in edges}])


class FakeTraining:
    """No network: mixing weights that move at random, by the epoch alone."""

    def __init__(self, space, search_epochs=3, seed=0):
        self.space, self.search_epochs, self.seed = space, search_epochs, seed
        self.decisions = Decisions(space.kinds)
        self.epoch = 0
        self.tuned_from = None
        self.log = []

    @property
    def searched(self):
        return self.epoch >= self.search_epochs

    def train_epoch(self):
        self.epoch += 1
        self.log.append(f"epoch {self.epoch}")
        return {"loss": 1 / self.epoch}

    def questions(self):
        return []

    def answered(self, question, chosen):
        self.log.append((question, tuple(chosen)))

    def theta(self):
        rng = derive_rng(self.seed, "theta", self.epoch)
        shapes = [(kind.num_edges, kind.num_ops) for kind in self.space.kinds]
        return [torch.from_numpy(rng.dirichlet(np.ones(o), size=e)) for e, o in shapes]

    def strengths(self):
        return self.theta()

    def mixture(self):
        return self.decisions.mix(self.theta())

    def begin_tuning(self, lr, schedule, epochs):
        assert self.tuned_from is None
        self.tuned_from = (self.epoch, lr, schedule, epochs)

    def num_selection_batches(self, batch_size):
        return 6

    def save(self):
        return {
            "epoch": self.epoch,
            "decisions": self.decisions.state_dict(),
            "tuned_from": self.tuned_from,
        }

    def load(self, state):
        self.epoch, self.tuned_from = state["epoch"], state["tuned_from"]
        self.decisions.load_state_dict(state["decisions"])


def fake_scorer(training, asked=None):
    """Scores that depend on the epoch, on what is asked, and on what else is left out."""

    def score(request):
        if asked is not None:
            asked.append(request)
        question, rows = request.question, []
        batches = range(6) if request.batches is None else request.batches
        for option in request.options:
            active = [a.copy() for a in request.mixture.active]
            if question.edge is None:
                active[question.kind][option] = False
            else:
                active[question.kind][question.edge, option] = False
            key = f"{training.epoch}{[a.tolist() for a in active]}{request.shuffle_seed}"
            rng = derive_rng(0, "score", key)
            whole = rng.integers(40, 60, size=6), rng.normal(60, 5, size=6)
            rows.append([part[list(batches)] for part in whole])
        return BatchScores(
            np.array([correct for correct, _ in rows]),
            np.array([loss for _, loss in rows]),
            np.full(len(batches), 64),
        )

    return score


class TinyTraining(FakeTraining):
    """A tiny network that learns to tell stripes from each other; α goes along first order."""

    def __init__(self, space, search_epochs=1, seed=0, steps=4):
        super().__init__(space, search_epochs, seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.supernet = build_supernet(space, TASK)
            self.alphas = [
                (0.1 * torch.randn(kind.num_edges, kind.num_ops)).requires_grad_()
                for kind in space.kinds
            ]
        self.steps = steps
        self.optimizer = torch.optim.SGD(self.supernet.parameters(), lr=0.05, momentum=0.9)
        self.alpha_optimizer = torch.optim.Adam(self.alphas, lr=0.02, betas=(0.5, 0.999))
        self.images, self.labels = stripes(32, seed)

    def theta(self):
        return [alpha.softmax(dim=1) for alpha in self.alphas]

    def mixture(self):
        return self.decisions.mix(self.theta()).detach()

    def begin_tuning(self, lr, schedule, epochs):
        super().begin_tuning(lr, schedule, epochs)
        self.optimizer = torch.optim.SGD(self.supernet.parameters(), lr=lr, momentum=0.9)

    def train_epoch(self):
        super().train_epoch()
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        self.supernet.train()
        loss = torch.zeros(())
        for _ in range(self.steps):
            for optimizer in (self.alpha_optimizer, self.optimizer):
                images, labels = stripes(16, int(torch.randint(10**6, (), generator=generator)))
                loss = F.cross_entropy(
                    self.supernet(images, self.decisions.mix(self.theta())), labels
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                self.optimizer.zero_grad()
        return {"loss": float(loss.detach())}

    def selection_batches(self, batch_size, *, augmented=False, shuffle_seed=None):
        order = torch.arange(len(self.labels))
        if shuffle_seed is not None:
            generator = torch.Generator().manual_seed(shuffle_seed)
            order = torch.randperm(len(self.labels), generator=generator)
        for part in order.split(batch_size):
            images = self.images[part].flip(3) if augmented else self.images[part]
            yield images, self.labels[part]

    def num_selection_batches(self, batch_size):
        return -(-len(self.labels) // batch_size)

    def save(self):
        parts = (self.supernet, self.optimizer, self.alpha_optimizer)
        return copy.deepcopy(
            {
                **super().save(),
                "alphas": [alpha.detach() for alpha in self.alphas],
                "parts": [part.state_dict() for part in parts],
            }
        )

    def load(self, state):
        super().load(state)
        if self.tuned_from is not None:
            self.optimizer = torch.optim.SGD(self.supernet.parameters(), lr=1, momentum=0.9)
        for alpha, saved in zip(self.alphas, state["alphas"], strict=True):
            alpha.data.copy_(saved)
        for part, saved in zip(
            (self.supernet, self.optimizer, self.alpha_optimizer), state["parts"], strict=True
        ):
            part.load_state_dict(saved)


def stripes(count, seed):
    """Noisy images `count x 1 x 8 x 8` of four kinds of stripes, and which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    place = torch.arange(8.0)
    across, along = place.expand(8, 8), place[:, None].expand(8, 8)
    patterns = torch.stack([across, along, across + along, across - along])
    images = torch.sin(1.6 * patterns[labels] + 6 * torch.rand(count, 1, 1, generator=generator))
    noise = 0.7 * torch.randn(count, 8, 8, generator=generator)
    return (images + noise)[:, None], labels


def expressed(kinds, decisions):
    """Whether every node keeps what it must, and every kept edge has an op that is no `none`."""
    for number, kind in enumerate(kinds):
        for node in kind.nodes:
            kept = [e for e in kind.incoming(node) if not decisions.gone(number, e)]
            if kind.keep is not None and len(kept) != min(kind.keep, len(kind.incoming(node))):
                return False
            for edge in kept:
                op = decisions.ops[number][edge]
                if op is None or (kind.keep is not None and kind.ops[edge][op] == NONE):
                    return False
    return True
