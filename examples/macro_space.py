"""A search space of your own: three stages of MBConv blocks, each of four choices.

raynas.search(space=MacroSpace(), budget=60)  # from Python
raynas search --budget 60 --set space.name=examples.macro_space:MacroSpace
"""

from itertools import product

import numpy as np
from torch import nn

from raynas.errors import InvalidArchitectureError
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import Graph

# Depth, width, kernel, expansion of a stage, by the word for it.
STAGES = {"d{}w{}k{}e{}".format(*s): s for s in product((1, 2), (8, 16, 32), (3, 5), (1, 3))}


class MacroSpace:
    name, num_labels = "macro", len(STAGES)

    def sample(self, rng):
        return self.parse("-".join(rng.choice(list(STAGES), size=3)))

    def mutate(self, architecture, rng):
        neighbours = self.neighbours(architecture)
        return neighbours[rng.integers(len(neighbours))]

    def neighbours(self, architecture):
        old, found = architecture.text.split("-"), []
        for i, new in product(range(3), STAGES):
            if sum(a != b for a, b in zip(STAGES[old[i]], STAGES[new], strict=True)) == 1:
                found.append(self.parse("-".join([*old[:i], new, *old[i + 1 :]])))
        return found

    def parse(self, text):
        if text.count("-") != 2 or not set(text.split("-")) <= set(STAGES):
            raise InvalidArchitectureError(f"{text!r} is not three of {', '.join(STAGES)}")
        return Architecture(self.name, text)

    def key(self, architecture):
        return architecture.text

    def graph(self, architecture):
        labels = [list(STAGES).index(stage) for stage in architecture.text.split("-")]
        return Graph(np.eye(3, k=1, dtype=np.int8), np.array(labels))

    def build(self, architecture, task):
        layers, channels = [], task.in_channels
        for depth, width, kernel, expansion in map(STAGES.get, architecture.text.split("-")):
            for stride in [2, 1][:depth]:
                inner, pad = channels * expansion, kernel // 2
                layers += [nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()]
                layers += [nn.Conv2d(inner, inner, kernel, stride, pad, groups=inner), nn.ReLU()]
                layers += [nn.Conv2d(inner, width, 1), nn.BatchNorm2d(width)]
                channels = width
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.num_classes)
        return nn.Sequential(*layers, *head)
