"""The command `python -m formsim`: list the actions, draw one."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from formsim.errors import InputError
from formsim.preview import sheet
from formsim.schema import load_actions


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message, hint=f"see {self.prog} --help")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit status 0, or 2 after one line about what was wrong."""
    parser = _Parser(prog="python -m formsim", description="FormSim: people exercising, with known faults.")
    commands = parser.add_subparsers(dest="command", required=True)
    description = "Draw actions on a contact sheet: the standard beside each fault. Example: preview squat"
    preview = commands.add_parser("preview", help="draw actions on a contact sheet", description=description)
    preview.add_argument("actions", nargs="*", help="names, or parts of names; default: all")
    preview.add_argument("--to", type=Path, default=Path("preview.png"), help="PNG file; default: %(default)s")
    preview.add_argument("--size", type=int, default=128, help="pixels of a frame; default: %(default)s")
    description = "List the actions with their types and faults, one a line."
    commands.add_parser("list", help="list the actions and their faults", description=description)
    try:
        options = parser.parse_args(arguments)
        if options.command == "list":
            for action in load_actions().values():
                print(f"{action.name} ({action.type}): {', '.join(action.faults)}")
        else:
            sheet(options.actions, options.to, options.size)
            print(f"written: {options.to}")
    except (InputError, OSError) as error:
        print(f"formsim: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
