"""`python -m efa ...` is the command `efa`; so is `accelerate launch -m efa ...`."""

from efa.cli.app import main

if __name__ == "__main__":
    main()
