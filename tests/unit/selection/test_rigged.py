"""Supernets in which one op carries all signal, and the mixing weights say otherwise."""

import pytest
import torch
from torch import nn

from raynas.selection.config import SelectionConfig
from raynas.selection.program import SupernetProgram
from raynas.selection.scoring import local_scorer
from raynas.spaces.cell_space import CellSpace

from .fakes import TinyTraining


class Blank(nn.Module):
    """The same image whatever it is given."""

    def __init__(self, channels):
        super().__init__()

    def forward(self, images):
        return torch.ones_like(images)


class RiggedTraining(TinyTraining):
    """Mixing weights stay as they are set: `share` to one op, the rest to the others alike."""

    def __init__(self, space, op, share, **options):
        super().__init__(space, **options)
        names = space.kinds[0].ops[0]
        rest = (1 - share) / (len(names) - 1)
        row = torch.tensor([share if name == op else rest for name in names])
        self.alphas[0].data.copy_(row.log().expand_as(self.alphas[0]))
        self.alpha_optimizer = torch.optim.SGD(self.alphas, lr=0.0)


def select(training, space, **options):
    if options["name"] == "perturbation":
        options = {"tune_epochs": 1, "batch_size": 16, **options}
    config = SelectionConfig(**options)
    program = SupernetProgram(space, training, config, seed=0)
    records = []
    while not program.finished:
        records += program.step(local_scorer(training))["decisions"]
    return program, records


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_perturbation_finds_the_op_that_carries_the_signal_and_magnitude_does_not(criterion):
    space = CellSpace(
        ops={"none": "none", "blank": Blank, "signal": "skip_connect"},
        nodes=2, channels=8, stages=2, cells_per_stage=1,
    )  # fmt: skip
    found = {}
    for name, options in {"magnitude": {}, "perturbation": {"criterion": criterion}}.items():
        training = RiggedTraining(space, "blank", 0.8, steps=20)
        program, records = select(training, space, name=name, **options)
        found[name] = program.result.text
    assert found == {"magnitude": "|blank~0|", "perturbation": "|signal~0|"}
    by_name = {c["name"]: c["accuracy"] for c in records[0]["candidates"]}
    assert by_name["signal"] < 0.4 < 0.6 < by_name["blank"]
    assert by_name["none"] == records[0]["unmasked"]["accuracy"]
