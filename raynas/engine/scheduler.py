"""Tune schedulers that carry out a search's decisions, or let a user's own scheduler decide.

Facts of Ray 2.60 they rest on (`TuneController`): a PENDING trial starts whatever the scheduler
says, a PAUSED one only when `choose_trial_to_run` returns it; `pause_trial` inside
`on_trial_result` with NOOP pauses without a checkpoint of Tune's; at `on_trial_error` a trial's
status is ERROR if it will be *retried* and RUNNING or PENDING if the failure is final. A retried
trial comes to `on_trial_add` again, also when it died while Tune saved a checkpoint to end it.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler

from raynas.engine.dispatcher import Dispatcher
from raynas.scheduling.candidate import Status
from raynas.scheduling.search import Decision


class PolicyScheduler(TrialScheduler):
    """Pauses and resumes trials as the search's policy says."""

    def __init__(self, dispatcher: Dispatcher, capacity: Callable[[], int]) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._capacity = capacity
        self._warm = False

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Note which candidate the trial is."""
        if not self._dispatcher.added(trial):
            tune_controller.stop_trial(trial)
            return
        if not self._warm:
            self._warm = True
            keep_actors(tune_controller, trial, self._capacity())

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Pass the report on; pause without a Tune checkpoint, ours is written already."""
        decision = self._dispatcher.reported(trial, result)
        if self._dispatcher.error is not None:
            stop_experiment(tune_controller)
        if decision is Decision.PAUSE:
            tune_controller.pause_trial(trial, should_checkpoint=False)
            return TrialScheduler.NOOP
        return TrialScheduler.STOP if decision is Decision.STOP else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Note a lost worker."""
        note_death(self._dispatcher, tune_controller, trial)

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Do nothing: the search knew when it decided."""

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Do nothing: a paused trial is ended at the end of the experiment."""

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Return the paused trial whose candidate was promoted, and end paused ones at the end."""
        chosen = self._dispatcher.next_paused()
        if chosen is None and self._dispatcher.finished:
            end_paused_trials(tune_controller)
        return chosen

    def debug_string(self) -> str:
        """Return nothing: progress is shown elsewhere."""
        return ""


class UserScheduler(TrialScheduler):
    """Lets any Tune scheduler decide, and keeps the pool's record of what happened.

    The user's scheduler sees ``epoch``, ``accuracy`` and ``training_iteration`` (the epoch).
    """

    def __init__(self, dispatcher: Dispatcher, inner: TrialScheduler) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._inner = inner
        self._ended: set[str] = set()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Give the inner scheduler the metric, unless it has its own."""
        self._inner.set_search_properties(metric, mode, **spec)
        return True

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Note which candidate the trial is."""
        if not self._dispatcher.added(trial):
            self._ended.add(trial.trial_id)  # the inner one knows: it was told of the error
            tune_controller.stop_trial(trial)
            return
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Record the report, then do what the inner scheduler says."""
        ours = self._dispatcher.reported(trial, result)
        if self._dispatcher.error is not None:
            stop_experiment(tune_controller)
        if ours is Decision.STOP:
            return TrialScheduler.STOP
        theirs: str = self._inner.on_trial_result(tune_controller, trial, result)
        candidate = self._dispatcher.search.pool[self._dispatcher.candidate_id(trial)]
        if candidate.status is Status.RUNNING and candidate.running:
            if theirs == TrialScheduler.STOP:
                self._dispatcher.search.interrupt(candidate.id, owed=False)
            elif theirs == TrialScheduler.PAUSE:
                self._dispatcher.search.interrupt(candidate.id)
        return theirs if ours is Decision.CONTINUE else TrialScheduler.PAUSE

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Note a lost worker."""
        self._inner.on_trial_error(tune_controller, trial)
        note_death(self._dispatcher, tune_controller, trial)

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Pass it on."""
        self._inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Pass it on; the candidate owes nothing any more."""
        if trial.trial_id in self._ended:
            return
        self._inner.on_trial_remove(tune_controller, trial)
        self._dispatcher.ended(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Return the inner scheduler's choice; a paused one is resumed."""
        chosen: TuneTrial | None = self._inner.choose_trial_to_run(tune_controller)
        if chosen is not None and chosen.status == TuneTrial.PAUSED:
            self._dispatcher.resumed(chosen)
        if chosen is None and self._dispatcher.finished:
            end_paused_trials(tune_controller)
        return chosen

    def debug_string(self) -> str:
        """Return the inner scheduler's words."""
        words: str = self._inner.debug_string()
        return words


def note_death(dispatcher: Dispatcher, tune_controller: Any, trial: TuneTrial) -> None:
    """Tell the dispatcher of a lost worker; end the experiment if that was one too many."""
    given_up = trial.status != TuneTrial.ERROR
    # One that was about to start is given up at the first death, whatever it was allowed.
    dispatcher.died(trial, given_up=given_up, training=trial.status != TuneTrial.PENDING)
    if dispatcher.error is not None:
        stop_experiment(tune_controller)


def end_paused_trials(tune_controller: Any) -> None:
    """End every paused Tune trial: an experiment with one left never ends."""
    for trial in list(tune_controller.get_trials()):
        if trial.status == TuneTrial.PAUSED:
            tune_controller.stop_trial(trial)


def stop_experiment(tune_controller: Any) -> None:
    """End the experiment at the end of this step."""
    getattr(tune_controller, "_tune_controller", tune_controller).request_stop_experiment()


def keep_actors(tune_controller: Any, trial: TuneTrial, count: int) -> None:
    """Let Tune keep `count` idle actors warm instead of one: a new one costs about 2 s.

    Between two levels all trials are paused for a moment, and Tune would end all actors but one.
    There is no public way to say so in Ray 2.60.
    """
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    controller._actor_cache.increase_max(trial.placement_group_factory, by=count)
