"""The command line: one module a command; parse, call `raynas.api`, print."""
