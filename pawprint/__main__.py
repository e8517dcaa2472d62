"""Pawprint's command line: ``python -m pawprint COMMAND ...``, or ``pawprint`` where installed."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from pawprint.runner.errors import PawprintError, describe_os_error
from pawprint.runner.requirements import describe_missing
from pawprint.version import VERSION

# Each is a module with a function main(arguments, prog) -> exit code; the chosen one is imported
COMMANDS = {
    "predict": ("pawprint.cli.predict", "the classes of pictures, on standard output"),
    "serve": ("pawprint.serving.server", "a web server with an API and a page"),
    "compare": ("pawprint.cli.compare", "experiments against each other, on the same pictures"),
    "rank": ("pawprint.cli.rank", "backbones and image sizes, by a head on their features"),
    "learning-curve": ("pawprint.cli.learning_curve", "what more pictures would bring"),
    "search": ("pawprint.cli.search", "better settings of the head, within a budget of time"),
    "review": ("pawprint.review.server", "suspects in a page, decided by one key each"),
    "suggest": ("pawprint.cli.suggest", "unlabelled pictures that are worth a label"),
    "clear-downloads": ("pawprint.cli.downloads", "remove what was downloaded and is kept"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a user's mistake is one line on standard error and exit code 2."""
    commands = "\n".join(f"  {name:<17}{text}" for name, (_, text) in COMMANDS.items())
    program = "pawprint" if Path(sys.argv[0]).stem == "pawprint" else "python -m pawprint"
    parser = argparse.ArgumentParser(
        prog=program,
        description="Use a trained model, review pictures, compare experiments, look ahead, tidy "
        "up. Commands:\n" + commands,
        epilog=f"{program} COMMAND --help says more",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pawprint {VERSION}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(arguments)
    try:
        command = import_module(COMMANDS[options.command][0])
        return int(command.main(options.arguments, f"{program} {options.command}"))
    except PawprintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if not (missing := describe_missing(error)):
            raise
        print(f"error: {missing}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a missing permission
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # as a shell reports a command that Ctrl-C ended


if __name__ == "__main__":
    sys.exit(main())
