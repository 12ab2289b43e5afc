"""The command line: `edgec COMMAND ...`. Every command is one module of this folder, found by looking.

A command module has `name`, `help`, `add_arguments(parser)` and `run(arguments) -> exit status`; what it needs it imports when it runs, so
`edgec --help` stays quick. Bad input is told in one message on standard error with status 1, a wrong command line with status 2.

    main(["compile", "model.onnx", "--target", "aarch64", "-o", "build"])      # 0
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

from edgec import __version__
from edgec.errors import CompileError

DESCRIPTION = "edgec compiles ONNX and TFLite models ahead of time into native objects that need nothing else."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status (0 fine, 1 bad input, 2 wrong command line, 130 interrupted)."""
    try:
        arguments = _parser().parse_args(argv)
        return arguments.run(arguments)
    except SystemExit as stop:  # argparse has printed help, or what is wrong
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except CompileError as error:
        return _failed(str(error))
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(f"{place}{error.strerror or error}")
    except MemoryError:
        return _failed("this needs more memory than there is")
    except KeyboardInterrupt:
        return 130


def commands() -> list[ModuleType]:
    """The command modules, by name."""
    modules = [importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)]
    return sorted((m for m in modules if hasattr(m, "run")), key=lambda m: m.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgec", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"edgec {__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands():
        added = parsers.add_parser(command.name, help=command.help, description=command.__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1
