"""``python -m gatewise``: the command line."""

from gatewise.cli import main

if __name__ == "__main__":
    main()
