"""What photographs go through in training: random resized crops and colour jitter, batched.

Szegedy et al., "Going deeper with convolutions", 2015, and what ImageNet training has done since:
a crop of random size and shape is resized to the whole image, then brightness, contrast, saturation
and hue are changed in a random order. Drawn on the CPU, computed where the images are.

Differences: resizing is bilinear without a low-pass filter; the crop is of the square image that is
in memory, not of the file.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.errors import ConfigError

Jitter = tuple[float, float, float, float]
"""Most by which brightness, contrast, saturation and hue change; of hue, as a share of the turn."""

_ASPECT = (3 / 4, 4 / 3)
_TRIES = 10
_GREY = (0.299, 0.587, 0.114)
"""What red, green and blue count for brightness (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True)
class PhotoAugmentation:
    """What may happen to a training photograph.

    Attributes:
        least_area: Smallest share of the image that a crop may be; None for no crops.
        jitter: See `Jitter`.
    """

    least_area: float | None = None
    jitter: Jitter = (0.0, 0.0, 0.0, 0.0)

    @property
    def active(self) -> bool:
        """Whether anything happens at all."""
        return self.least_area is not None or any(self.jitter)

    def check(self, images: Tensor) -> None:
        """Raise `ConfigError` if raw images `N x S x S x C` are none whose colours can change."""
        if any(self.jitter) and (images.dtype != torch.uint8 or images.shape[-1] != 3):
            raise ConfigError(
                "training.color_jitter: needs uint8 images of three channels, not "
                f"{str(images.dtype).removeprefix('torch.')} of {images.shape[-1]}"
            )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw what happens to `count` images.

        Returns:
            `count x 12` float32 on the CPU: centre and size of the crop as shares of the image (x,
            y, width, height); factors of brightness, contrast and saturation, turn of the hue; and
            four numbers whose order is that of the changes.
        """
        boxes = self._draw_boxes(count, generator)
        uniform = torch.rand(count, 4, generator=generator) * 2 - 1
        changes = uniform * torch.tensor(self.jitter) + torch.tensor([1.0, 1.0, 1.0, 0.0])
        order = torch.rand(count, 4, generator=generator)
        return torch.cat([boxes, changes, order], dim=1)

    def _draw_boxes(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw crops: area and aspect anew until one fits; the whole image if none does."""
        least = 1.0 if self.least_area is None else self.least_area
        shape = (count, _TRIES)
        area = least + (1 - least) * torch.rand(shape, generator=generator)
        low, high = map(math.log, _ASPECT)
        aspect = torch.exp(low + (high - low) * torch.rand(shape, generator=generator))
        width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
        fits = (width <= 1) & (height <= 1)
        first = fits.int().argmax(1, keepdim=True)
        found = fits.any(1)
        place = torch.rand(count, 2, generator=generator)
        sizes = torch.cat([width.gather(1, first), height.gather(1, first)], dim=1)
        sizes = torch.where(found[:, None], sizes, torch.ones(()))
        centres = sizes / 2 + place * (1 - sizes)
        return torch.cat([centres, sizes], dim=1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change raw images `B x S x S x C`; the answer is float32 of the same scale."""
        images = images.permute(0, 3, 1, 2).float()
        if self.least_area is not None:
            images = _crop(images, draws[:, :4])
        if any(self.jitter):
            images = self._jitter(images / 255, draws[:, 4:8], draws[:, 8:]) * 255
        return images.permute(0, 2, 3, 1)

    def _jitter(self, images: Tensor, changes: Tensor, order: Tensor) -> Tensor:
        """Change images `B x 3 x S x S` in [0, 1], each in its own order."""
        rank = order.argsort(1)
        functions = (_brightness, _contrast, _saturation, _hue)
        for turn in range(len(functions)):
            for kind, function in enumerate(functions):
                now = rank[:, turn] == kind
                if self.jitter[kind] and bool(now.any()):
                    changed = function(images[now], changes[now, kind][:, None, None, None])
                    images = images.index_put((now,), changed)
        return images


def _crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Return the boxes (centre x, y, width, height as shares), each resized to the whole image."""
    centre, size = 2 * boxes[:, :2] - 1, boxes[:, 2:]
    transform = torch.zeros(len(images), 2, 3, device=images.device)
    transform[:, 0, 0], transform[:, 1, 1] = size[:, 0], size[:, 1]
    transform[:, :, 2] = centre
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _blend(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return (share * images + (1 - share) * other).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(_GREY, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp(0, 1)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images).mean(dim=(2, 3), keepdim=True), factor)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images), factor)


def _hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the whole circle; value and saturation (of HSV) stay."""
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = (sixth / 6 + turn) % 1.0 * 6
    # Each channel falls off with the distance of its hue from the colour's (HSV to RGB).
    offsets = torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None]
    distance = (offsets + turned) % 6
    return value - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1)
