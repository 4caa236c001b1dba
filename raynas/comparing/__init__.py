"""Many methods, many seeds, on tables of measured networks: search quality against epochs spent."""
