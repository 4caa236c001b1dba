"""One epoch of training: index-shuffled tensors against a DataLoader with one image at a time.

Run: ``python tests/speed/training.py [--channels 8 --cells 1 --rounds 5]``.

Both train the same network on the digits, from the same weights, in the same order, crops drawn
from the same numbers. The textbook way crops and normalises each image in `Dataset.__getitem__`,
NCHW. First the two are shown to learn the same thing (float64: equal loss after an epoch); then
they are timed, interleaved in one process (one thread, CPU time, median of paired ratios).
"""

import argparse
import math
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from raynas.seeds import derive_seed
from raynas.spaces.nasbench201 import NasBench201
from raynas.training.data import DataSplits, load_data
from raynas.training.loop import NetworkTrial
from raynas.training.recipe import TrainingConfig

CONFIG = TrainingConfig(full_epochs=1, device="cpu", channels_last=True)


class OneByOne(Dataset[tuple[Tensor, Tensor]]):
    """Crops and normalises the image it is asked for."""

    def __init__(self, data: DataSplits, crops: Tensor) -> None:
        self.data = data
        self.crops = crops
        self.images = data.train.images.permute(0, 3, 1, 2).contiguous()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        border, size = self.data.augmentation.crop_padding, self.images.shape[-1]
        top, left = self.crops[index].tolist()
        padded = F.pad(self.images[index], (border,) * 4)
        image = padded[:, top : top + size, left : left + size]
        mean, std = self.data.mean[:, None, None], self.data.std[:, None, None]
        return (image - mean) / std, self.data.train.labels[index]


def batches(data: DataSplits, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of epoch 1, as the project draws them."""
    count = len(data.train)
    generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", 1))
    order = torch.randperm(count, generator=generator)
    draws = data.augmentation.draw(count, data.train.images.shape[1], generator)
    crops = torch.empty(count, 2, dtype=torch.int64)
    crops[order] = draws[:, :2]
    sampler = [part.tolist() for part in order.tensor_split(math.ceil(count / CONFIG.batch_size))]
    loader = DataLoader(OneByOne(data, crops), batch_sampler=sampler)  # type: ignore[arg-type]
    yield from loader


def textbook_epoch(network: nn.Module, data: DataSplits, seed: int) -> float:
    """Train one epoch and return the mean training loss."""
    dtype = next(network.parameters()).dtype
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = CONFIG.make_optimizer(network)
    num_steps = math.ceil(len(data.train) / CONFIG.batch_size)
    total = 0.0
    network.train()
    for step, (images, labels) in enumerate(batches(data, seed)):
        for group in optimizer.param_groups:
            group["lr"] = CONFIG.lr_at(step / num_steps)
        loss = F.cross_entropy(network(images.to(dtype)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert CONFIG.grad_clip is not None
        nn.utils.clip_grad_norm_(network.parameters(), CONFIG.grad_clip)
        optimizer.step()
        total += loss.item() * len(labels)
    network.eval()
    with torch.no_grad():
        network(data.normalise(data.valid.images).to(dtype).contiguous())
    return total / len(data.train)


def our_epoch(network: nn.Module, data: DataSplits, seed: int) -> float:
    """Likewise, with the project's loop."""
    return NetworkTrial(network, data, CONFIG, seed).train(1)["train_loss"]


def in_float64(data: DataSplits) -> DataSplits:
    """The same data, normalised in float64."""
    from dataclasses import replace

    return replace(data, mean=data.mean.double(), std=data.std.double())


def main() -> None:
    """Prove equality, time, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data("digits")
    space = NasBench201(channels=options.channels, cells_per_stage=options.cells)
    rng = np.random.default_rng(0)

    def build(text: str) -> nn.Module:
        torch.manual_seed(0)
        return space.build(space.parse(text), data.task)

    conv, skip = "nor_conv_3x3", "skip_connect"
    texts = {
        name: f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|"
        for name, op in (("all convolutions", conv), ("all skips", skip))
    } | {"a random one": space.sample(rng).text}
    for text in texts.values():
        exact = in_float64(data)
        losses = [f(build(text).double(), exact, 1) for f in (textbook_epoch, our_epoch)]
        assert math.isclose(*losses, rel_tol=1e-9), losses
    print("equal in float64; CPU time of one epoch and its validation, textbook / ours:")
    for name, text in texts.items():
        ratios, ours_s = [], []
        for round_ in range(options.rounds + 1):
            seconds = []
            for epoch in (textbook_epoch, our_epoch):
                network = build(text)
                started = time.process_time()
                epoch(network, data, round_)
                seconds.append(time.process_time() - started)
            if round_:  # the first warms up
                ratios.append(seconds[0] / seconds[1])
                ours_s.append(seconds[1])
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        ms = 1000 * statistics.median(ours_s)
        print(f"  {name:18} x{statistics.median(ratios):.2f} ({spread}), ours {ms:.0f} ms")


if __name__ == "__main__":
    main()
