"""A Tune searcher that hands out the candidates the search wants trained."""

from typing import Any

from ray.tune.search import Searcher

from raynas.engine.dispatcher import Dispatcher


class CandidateSearcher(Searcher):
    """Turns jobs of candidates Tune has not seen in this session into new trials."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(metric="accuracy", mode="max")
        self._dispatcher = dispatcher

    def suggest(self, trial_id: str) -> Any:
        """Return the next candidate's config, None to be asked again, or FINISHED."""
        config = self._dispatcher.next_config(trial_id)
        if config is not None:
            return dict(config)
        finished: str = Searcher.FINISHED
        return finished if self._dispatcher.finished else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the scheduler has told the search."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal holds the run."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: every session is a fresh one."""
