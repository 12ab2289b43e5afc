"""The commands of `.edge` files that go through the compiler: what a graph becomes for a named target.

    # command: loops x86-64-v3 y          the tiled loops of kernel y (of all kernels without a name)
    # command: mnemonics aarch64 y        the machine instructions of its hottest loop, counted
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from edgec.backends.codegen import compile_module
from edgec.backends.llvm import module_text
from edgec.backends.target import Target, find
from edgec.compiler import lower
from edgec.errors import ModelError
from edgec.graph import Graph
from edgec.loops import Loops
from edgec.loops_text import print_loops
from edgec.loops_verifier import verify_loops
from edgec.passes.tile import tile


def loops_of(graph: Graph, target: Target, names: Sequence[str] = (), without: Sequence[str] = ()) -> list[Loops]:
    """The verified loops of the kernels of a graph as it stands, or of those named."""
    kernels = [k for k in lower(graph, target, without=without).steps if not names or k.name in names]
    if not kernels:
        raise ModelError(f"no kernel is called {' or '.join(names)}")
    found = [tile(kernel, target).loops for kernel in kernels]
    for loops in found:
        verify_loops(loops)
    return found


def loops(arguments: str, graph: Graph) -> str:
    """`loops TARGET [KERNEL ...] [-PASS ...]`: tiled loops; `-winograd` leaves a program pass out."""
    target, *words = arguments.split()
    names, without = [w for w in words if w[0] != "-"], [w[1:] for w in words if w[0] == "-"]
    return "\n".join(print_loops(each) for each in loops_of(graph, find(target), names, without))


def mnemonics(arguments: str, graph: Graph) -> str:
    """`mnemonics TARGET KERNEL`: how often each instruction stands in the longest loop without loops inside."""
    name, *kernels = arguments.split()
    target = find(name)
    one, = loops_of(graph, target, kernels)
    counted = hot_loop(compile_module(module_text(one, target, "kernel"), target, "3", ("asm",)).asm)
    return "".join(f"{count:4} {mnemonic}\n" for mnemonic, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def hot_loop(asm: str) -> Counter[str]:
    """The instructions of the longest block that jumps back to its own label, up to that jump; labels that nobody names part nothing."""
    best: Counter[str] = Counter()
    named = Counter(re.findall(r"[.\w$]+", asm))
    asm = re.sub(r"^([.\w$]+):.*\n", lambda label: label[0] if named[label[1]] > 1 else "", asm, flags=re.MULTILINE)
    for block in re.split(r"^(?=[.\w$]+:)", asm, flags=re.MULTILINE):
        label, *lines = block.splitlines() or [""]
        code = [line.split() for line in lines if re.match(r"\s+[a-z]", line)]
        jumps = [n for n, words in enumerate(code) if label.partition(":")[0] in words[1:]]
        if jumps:
            best = max(best, Counter(words[0] for words in code[:jumps[0] + 1]), key=Counter.total)
    return best
