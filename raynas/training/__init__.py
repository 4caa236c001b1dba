"""Train one network: data, augmentation, schedules, the loop, checkpoints."""
