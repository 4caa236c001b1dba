"""Random crops, flips and cutout in plain torch: batched, on the device, drawn from a generator.

What will be done to the images of an epoch is drawn in one go on the CPU, so that it is the same on
every device. Crops and flips move raw pixels (the border of a crop is black); cutout erases
normalised ones (the hole is the mean), as in the DARTS evaluation protocol (algorithms.md §7.1).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to a training image.

    Attributes:
        crop_padding: Pixels of border before a random crop back to the old size; 0 for no crop.
        flip: Whether to mirror every second image, left to right.
        cutout: Side of the erased square in pixels; 0 for none.
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Draw what happens to `count` images.

        Returns:
            `count x 5` int64 on the CPU: top, left of the crop; flip; row, column of the hole.
        """
        sides = 2 * self.crop_padding + 1
        ranges = (sides, sides, 2, image_size, image_size)
        return torch.stack(
            [torch.randint(high, (count,), generator=generator) for high in ranges], dim=1
        )

    def move(self, images: Tensor, draws: Tensor) -> Tensor:
        """Crop and flip raw images `B x S x S x C`, of any type."""
        if not self.crop_padding and not self.flip:
            return images
        border = self.crop_padding
        side = torch.arange(images.shape[1], device=images.device)
        rows = draws[:, 0, None] + side
        columns = draws[:, 1, None] + side
        if self.flip:
            mirrored = draws[:, 1, None] + side.flip(0)
            columns = torch.where(draws[:, 2, None].bool(), mirrored, columns)
        padded = F.pad(images, (0, 0, border, border, border, border)) if border else images
        batch = torch.arange(len(images), device=images.device)
        return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]

    def erase(self, images: Tensor, draws: Tensor) -> Tensor:
        """Cut a square out of normalised images `B x C x S x S`; clipped at the borders."""
        if not self.cutout:
            return images
        side = torch.arange(images.shape[-1], device=images.device)
        first = draws[:, 3:] - self.cutout // 2
        offset = side - first[:, :, None]
        inside = (offset >= 0) & (offset < self.cutout)
        hole = inside[:, 0, :, None] & inside[:, 1, None, :]
        return images.masked_fill(hole[:, None], 0.0)


def default_crop_padding(image_size: int) -> int:
    """Return the usual border: 4 from 32 pixels on, 2 for 16, 1 for 8."""
    return min(4, image_size // 8)
