"""From a run's records to tables, plots and pages."""
