"""Two networks to set a supernet against: a plain chain of layers, and the same with shortcuts.

Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (VGG); He et al., "Identity
Mappings in Deep Residual Networks", ECCV 2016. Thesis table 2.1 does not say how deep its own were;
here both have three stages of equal layers, between which the image is halved.
"""

from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.operations import conv_norm

ChainKind = Literal["vgg", "resnet"]

NUM_STAGES = 3
WIDTH = 16
LAYERS = 4


class PlainLayer(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = conv_norm(channels, channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return images of the same shape."""
        return F.relu(self.body(images))


class ResidualLayer(nn.Module):
    """What comes in, and what two convolutions add to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels, 3)
        self.second = conv_norm(channels, channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return images of the same shape."""
        added: Tensor = self.second(F.relu(self.first(F.relu(images))))
        return images + added


class Chain(nn.Module):
    """Three stages of equal layers; each later one halves the image and doubles the channels.

    Args:
        kind: ``vgg``: each layer takes the place of what came before; ``resnet``: adds to it.
        in_channels: Channels of the images.
        num_classes: Number of logits.
        width: Channels of the first stage.
        layers: Layers of a stage besides the one it begins with; 2 or more.
    """

    def __init__(
        self,
        kind: ChainKind,
        in_channels: int,
        num_classes: int,
        *,
        width: int = WIDTH,
        layers: int = LAYERS,
    ) -> None:
        super().__init__()
        make = PlainLayer if kind == "vgg" else ResidualLayer
        self.body = nn.Sequential()
        for stage in range(NUM_STAGES):
            channels = width * 2**stage
            before = in_channels if stage == 0 else channels // 2
            self.body.append(conv_norm(before, channels, 3, stride=1 if stage == 0 else 2))
            self.body.append(nn.ReLU())
            self.body.append(nn.Sequential(*(make(channels) for _ in range(layers))))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def stages_of_layers(self) -> list[nn.Sequential]:
        """Return the layers of each stage that can stand in each other's place."""
        return [cast(nn.Sequential, stage) for stage in list(self.body)[2::3]]

    def forward(self, images: Tensor) -> Tensor:
        """Map images `B x C x H x W` to logits `B x num_classes`."""
        features = F.relu(self.norm(self.body(images))).mean(dim=(2, 3))
        logits: Tensor = self.classifier(features)
        return logits
