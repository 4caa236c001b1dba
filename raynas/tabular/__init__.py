"""Accuracies from tables of measured networks: whole comparisons in minutes, without training."""
