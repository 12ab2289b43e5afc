"""Text tests: an `.edge` file is a command, an input text and the expected text, and is rewritten by `pytest --bless`.

    # command: passes simplify
    graph g(%x: f32[2]) -> (%y) {
      %y = Identity(%x) : f32[2]
    }
    # gives
    graph g(%x: f32[2]) -> (y=%x) {
    }

`errors` is different: the expected messages stand as `# error: ...` at the end of the offending lines, and nothing follows. A large
constant @name is declared without its elements; they are drawn from a generator seeded with the name, multiples of 1/8, so sums stay exact.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgec.errors import ModelError, raise_all
from edgec.graph import Graph
from edgec.graph_parser import graph_problems, parse_graph
from edgec.graph_text import print_graph
from edgec.pipeline import parse_pipeline, registered, run_pipeline, verify_hook
from edgec.types import TensorType
from edgec.verifier import verify

SEPARATOR = "# gives\n"
Command = Callable[[str, str, str], str]  # arguments, input text, file name -> output text


def drawn_constant(name: str, type_: TensorType) -> np.ndarray:
    """The elements of @name: the same on every machine, between -4 and 4."""
    numbers = np.random.default_rng(zlib.crc32(name.encode())).integers(-32, 33, type_.shape)
    return (numbers / 8 if type_.dtype.is_float else numbers % 2 if type_.dtype.kind == "b" else abs(numbers)).astype(type_.dtype.numpy)


def read_graph(text: str, file: str) -> Graph:
    """The graph of an input text, verified, its large constants drawn."""
    graph = parse_graph(text, drawn_constant, file)
    raise_all(verify(graph))
    return graph


def command_print(arguments: str, text: str, file: str) -> str:
    """`print`: the text as the printer writes it."""
    return print_graph(read_graph(text, file))[0]


def command_passes(arguments: str, text: str, file: str) -> str:
    """`passes a,b{option=1}`: the graph after a pipeline, verified after every step."""
    steps = parse_pipeline(arguments, registered())
    return print_graph(run_pipeline(read_graph(text, file), steps, hooks=(verify_hook,)))[0]


def command_loops(arguments: str, text: str, file: str) -> str:
    """`loops TARGET [KERNEL ...] [-PASS ...]`: the tiled loops of kernels; a program pass can be left out."""
    from edgec.edge_commands import loops  # LLVM, which the other commands do without
    return loops(arguments, read_graph(text, file))


def command_mnemonics(arguments: str, text: str, file: str) -> str:
    """`mnemonics TARGET KERNEL`: the machine instructions of the hottest loop, counted."""
    from edgec.edge_commands import mnemonics
    return mnemonics(arguments, read_graph(text, file))


COMMANDS: dict[str, Command] = {"print": command_print, "passes": command_passes, "loops": command_loops, "mnemonics": command_mnemonics}


def actual(path: Path) -> str:
    """What the whole file would be if its expectation were what the command gives now."""
    head, _, rest = path.read_text(encoding="utf-8").partition("\n")
    match = re.fullmatch(r"# command: (\w+) ?(.*)", head)
    if match is None:
        raise ModelError(f"{path.name}: the first line must be `# command: ...`")
    if match[1] == "errors":
        return head + "\n" + _with_errors(rest, path.name)
    if match[1] not in COMMANDS:
        raise ModelError(f"{path.name}: there is no command '{match[1]}'", hint="the commands are errors, " + ", ".join(COMMANDS))
    text = rest.partition(SEPARATOR)[0]
    return f"{head}\n{text}{SEPARATOR}{COMMANDS[match[1]](match[2], text, path.name)}"


def _with_errors(text: str, file: str) -> str:
    """The text with the message of every problem at the end of its line."""
    lines = [re.sub(r"\s*# error:.*", "", line) for line in text.splitlines()]
    for error in graph_problems("\n".join(lines), drawn_constant, file):
        number = re.search(r":(\d+)$", error.loc.file if error.loc else "")
        place = int(number[1]) - 1 if number else 0
        message = " ".join(error.message.split())
        lines[place] += f"   # error: {message}" + (f"; hint: {error.hint}" if error.hint else "")
    return "\n".join(lines) + "\n"
