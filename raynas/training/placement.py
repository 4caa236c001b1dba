"""Where a network is trained and in what precision: CPU or GPU, AMP, memory format."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from raynas.errors import ConfigError

Amp = Literal["auto", "off", "bf16", "fp16"]
ChannelsLast = Literal["auto"] | bool


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and how to use it.

    Attributes:
        device: Where tensors live.
        amp: Type of autocast; None for plain float32.
        channels_last: Whether convolutions see `N x H x W x C` memory.
    """

    device: torch.device
    amp: torch.dtype | None = None
    channels_last: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """How `B x C x H x W` tensors lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients would underflow unless the loss is scaled (float16)."""
        return self.amp is torch.float16

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context to run a forward pass in."""
        if self.amp is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.amp)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network there (in place) and return it."""
        network = network.to(self.device)
        # Torch's stub has no overload for a memory format.
        return network.to(memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]

    def lay_out(self, images: Tensor) -> Tensor:
        """Return a batch `B x C x H x W` in the memory format."""
        return images.contiguous(memory_format=self.memory_format)


def choose_placement(
    device: str = "auto", amp: Amp = "auto", channels_last: ChannelsLast = "auto"
) -> Placement:
    """Decide what ``auto`` means on this machine.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        amp: ``auto`` is bfloat16 on GPUs that have it, float16 on others, off on the CPU.
        channels_last: ``auto`` is on: convolutions are faster so on CPU and GPU.

    Raises:
        ConfigError: a GPU that is not there, or a precision it does not have.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    target = torch.device(device)
    if target.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (target.index or 0) >= count:
            raise ConfigError(
                f"training.device: {device!r} is not here: this worker sees {count} GPUs "
                "(allowed: auto, cpu, cuda, cuda:N)"
            )
        # An index, so that equal places compare equal.
        index = torch.cuda.current_device() if target.index is None else target.index
        target = torch.device("cuda", index)
    return Placement(target, _amp_type(target, amp), channels_last in ("auto", True))


def _amp_type(device: torch.device, amp: Amp) -> torch.dtype | None:
    if amp == "off" or (amp == "auto" and device.type == "cpu"):
        return None
    if amp == "fp16" and device.type == "cpu":
        raise ConfigError("training.amp: 'fp16' needs a GPU (allowed on the CPU: auto, off, bf16)")
    if amp == "bf16" or (amp == "auto" and torch.cuda.is_bf16_supported(including_emulation=False)):
        return torch.bfloat16
    return torch.float16
