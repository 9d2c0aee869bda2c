"""`python -m sluice.interfaces.cli`."""

from sluice.interfaces.cli import main

if __name__ == "__main__":
    main()
