"""A scheduling policy of your own: keep training whoever is above the median of its level.

python examples/custom_policy.py
raynas search --budget 60 --set policy.name=examples.custom_policy:MedianPolicy
"""

from raynas.scheduling.policy import Job, SchedulingPolicy


class MedianPolicy(SchedulingPolicy):
    def __init__(self, epochs_per_level, budget, per_round=8):
        self.levels, self.budget, self.per_round = tuple(epochs_per_level), budget, per_round

    def next_jobs(self, pool, free_slots):
        jobs = [Job.of(candidate, self.levels[0]) for candidate in pool.waiting]
        for level in range(1, len(self.levels)):
            above = pool.reached(level) // 2 - pool.reached(level + 1) - pool.heading(level + 1)
            best = pool.best_resting(level, max(0, above))
            jobs += [Job.of(candidate, self.levels[level]) for candidate in best]
        left, offered = self.budget.epochs_left(pool), []
        for job in jobs[:free_slots]:
            left -= job.num_epochs
            if left >= 0:
                offered.append(job)
        return offered

    def wants(self, pool):
        left = self.budget.epochs_left(pool) // self.levels[0]
        return 0 if pool.num_waiting or pool.exhausted else min(self.per_round, left)


if __name__ == "__main__":
    import raynas

    result = raynas.search(budget=30, policy=MedianPolicy)
    print(result.architecture, result.accuracy)
