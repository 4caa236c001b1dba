"""How good is an architecture after e epochs? A resumable trial answers (Protocols).

`raynas.training.objective.TrainingObjective` trains on a data set;
`raynas.tabular.table.TableObjective` looks the answer up. A user's own works in both engines.
"""

from typing import Any, Protocol

from raynas.scheduling.events import Metrics
from raynas.spaces.architecture import Architecture


class Trial(Protocol):
    """One architecture under training. `epoch` epochs are done."""

    epoch: int

    def train(self, to_epoch: int) -> Metrics:
        """Train on to `to_epoch` and return the metrics there.

        ``accuracy`` (validation, a fraction, higher is better) must be among them; ``loss``
        (validation) breaks ties; ``time_s`` is what the epochs cost, where the objective knows
        better than a clock (tables).

        Raises:
            TrialError: this architecture cannot be trained (NaN, out of memory).
        """
        ...

    def save(self) -> dict[str, Any]:
        """Return all that a bit-equal resume needs, readable with ``weights_only=True``."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `save` returned."""
        ...


class Objective(Protocol):
    """Starts trials. Must be picklable and cheap to pickle: workers load data themselves."""

    def prepare(self) -> None:
        """Load what every trial on this worker needs (data, tables).

        Called once per worker before the first trial. What fails here is nobody's architecture's
        fault: it stops the run. Subclass the protocol to inherit this, which does nothing.
        """
        return

    def start(self, architecture: Architecture, seed: int) -> Trial:
        """Return an untrained trial; `seed` fixes every draw it will ever make."""
        ...
