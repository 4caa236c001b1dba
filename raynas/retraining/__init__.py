"""Full trainings of found architectures: several of them, several seeds, side by side."""
