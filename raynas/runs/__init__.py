"""The run folder: journal, Parquet views and manifest of a run."""
