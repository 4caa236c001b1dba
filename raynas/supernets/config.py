"""How a supernet is trained: the settings, with those of DARTS as defaults.

Liu et al., "DARTS", ICLR 2019, §A.1. Each method has published settings of its own
(`Method.defaults`), which lie between these and the user's.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from raynas.config import Section
from raynas.training.placement import Amp, ChannelsLast, Placement, choose_placement
from raynas.training.schedules import cosine, linear_ramp

_NOT_DECIDING = {"device", "amp", "channels_last", "valid_batch_size"}

Schedule = Literal["constant", "cosine"]


class SupernetTrainingConfig(Section):
    """How a supernet is trained.

    The weights w learn from one half of the training images, the mixing weights α from the other.

    Attributes:
        epochs: Length of the search; an epoch goes once through the half of w.
        batch_size: At most that many images a step, of all workers together; an epoch is cut into
            equal batches.
        split: Share of the training images that w learns from.
        lr: Learning rate of w at its highest.
        min_lr: Learning rate of w at the very end of its cosine.
        warmup_epochs: Epochs of linear rise to `lr`; the first one has ``lr / warmup_epochs``.
        momentum: Of w's SGD.
        nesterov: Of w's SGD.
        weight_decay: On w.
        grad_clip: Largest norm of w's gradient; None for no limit.
        alpha_lr: Learning rate of α's Adam; constant.
        alpha_betas: Of α's Adam.
        alpha_weight_decay: On α.
        alpha_grad_clip: Largest norm of α's gradient; None for no limit.
        alpha_init: Standard deviation of α at the start.
        alpha_frozen_epochs: Epochs in which α is left alone at the start (of each stage, where a
            method has stages); None: the method's published share.
        cutout: Side of the square erased from training images; 0 for none.
        cutout_probability: Share of the images it is erased from at the end; rises linearly.
        drop_path: Probability at the end with which an op's output is dropped for an image; rises
            linearly.
        sync_norm: Whether batch norms take the statistics of all workers' images together, so that
            the result does not depend on the number of workers.
        amp: Mixed precision: ``auto`` (on GPUs), ``off``, ``bf16``, ``fp16``.
        channels_last: Memory format; ``auto`` is true.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        valid_batch_size: Images in a validation batch.
    """

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(64, ge=2)
    split: float = Field(0.5, gt=0, lt=1)
    lr: float = Field(0.025, gt=0, allow_inf_nan=False)
    min_lr: float = Field(0.001, ge=0, allow_inf_nan=False)
    warmup_epochs: int = Field(0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(3e-4, ge=0, allow_inf_nan=False)
    grad_clip: float | None = Field(5.0, gt=0, allow_inf_nan=False)
    alpha_lr: float = Field(3e-4, gt=0, allow_inf_nan=False)
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    alpha_weight_decay: float = Field(1e-3, ge=0, allow_inf_nan=False)
    alpha_grad_clip: float | None = Field(None, gt=0, allow_inf_nan=False)
    alpha_init: float = Field(1e-3, ge=0, allow_inf_nan=False)
    alpha_frozen_epochs: int | None = Field(None, ge=0)
    cutout: int = Field(0, ge=0)
    cutout_probability: float = Field(1.0, ge=0, le=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    sync_norm: bool = True
    amp: Amp = "auto"
    channels_last: ChannelsLast = "auto"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    valid_batch_size: int = Field(256, ge=1)

    @model_validator(mode="after")
    def _check_together(self) -> "SupernetTrainingConfig":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}")
        if any(not 0 <= beta < 1 for beta in self.alpha_betas):
            raise ValueError(f"alpha_betas must lie in [0, 1), not {self.alpha_betas}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} must end before the {self.epochs} epochs do"
            )
        return self

    def placement(self) -> Placement:
        """Return where and in what precision to train on this machine."""
        return choose_placement(self.device, self.amp, self.channels_last)

    def recipe(self) -> dict[str, Any]:
        """Return what decides the result, as plain values: all but where it is computed."""
        return self.model_dump(mode="json", exclude=_NOT_DECIDING)

    def lr_at(self, epoch: int) -> float:
        """Return w's learning rate in an epoch, counted from 0; it moves once an epoch."""
        if epoch < self.warmup_epochs:
            return self.lr * (epoch + 1) / self.warmup_epochs
        return cosine(epoch, self.epochs, peak=self.lr, floor=self.min_lr)

    def drop_path_at(self, epoch: int) -> float:
        """Return the drop-path probability in an epoch, counted from 0."""
        return linear_ramp(epoch, self.epochs, maximum=self.drop_path)

    def cutout_probability_at(self, epoch: int) -> float:
        """Return the share of images that are cut in an epoch, counted from 0."""
        return linear_ramp(epoch, self.epochs, maximum=self.cutout_probability)
