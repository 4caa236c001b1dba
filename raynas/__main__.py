"""Run the command line with ``python -m raynas``."""

from raynas.cli.main import main

if __name__ == "__main__":
    main()
