"""Rank architectures without training them: a Siamese graph network fitted on pairs of the pool."""
