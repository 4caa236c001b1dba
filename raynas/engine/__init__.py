"""Ray: the only folder that imports it."""

import os

# Read by ray.tune when it is imported: no loggers that keep files open per trial, no new output.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# The journal is the truth; Tune's own snapshots are never read.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
