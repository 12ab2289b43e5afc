"""Writes docs/tour.md: one small model, and its text at every arrow of the compiler.

    page()      # '# A tour\\n\\n...'
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from string import Template

import edgec
from edgec.backends.codegen import compile_module
from edgec.backends.header import header
from edgec.backends.llvm import module_text
from edgec.backends.target import find
from edgec.compiled_texts import compiled_texts
from edgec.emission import emit
from edgec.graph_text import print_graph
from edgec.kernel import Kernel
from edgec.loops_text import print_loops
from edgec.passes.tile import tile

MODEL = "testdata/digits/digits.onnx"
TARGET = "x86-64-v3"
WIDTH = 128

PAGE = Template("""\
# A tour: one model, and its text at every arrow

<!-- written by docs/make_tour.py; `make docs` writes it anew -->

The model is [digits](../testdata/digits/README.md): three convolutions, a pool, a matrix product and a softmax. The machine is
`$target`, whose vectors hold eight f32. What you see is what the compiler holds at that point, printed by the same functions that the
tests read back; only the numbers of small constants are cut to `...`, long lines are broken, and where lines are left out it says so.

## 1. What the model says

`edgec show $model --text graph`

```text
$loaded
```

One line is one operator, `%` is a value with its type, `@` a large constant that lies beside the text. Operators are
[classes](operators.md) with ONNX's names and attributes.

## 2. The graph after its passes

`edgec show $model --text optimised --target $target`

```text
$optimised
```

[The graph passes](passes.md) folded each batch normalisation into the weights before it (`.scaled`) and made a Reshape of the Flatten.
Values kept the names the model gave them.

## 3. What each element is

`edgec show $model --text kernels --target $target`

```text
$kernels
```

A kernel is a formula for one element of its result, and the axes the formula is true for. Nothing says how to loop yet.

* The operators of the first layer are one kernel: reading an operand is calling it, so convolution, bias and Relu are one expression.
* Padding is no operation. `inside(i < n; value; fill)` is a read that has a value outside the tensor.
* `order 0, 2, 3, 1` is the layout of a buffer: channels lie innermost. The formula says `[0, i0, i1, i2]` all the same.
* The softmax (`probabilities`) has stages: its maximum and its sum are computed once, its exponentials once each, in scratch memory that
  lives inside one point of the kernel's outer axes (here there are none).
$winograd* `at 0` is an offset in the arena. Buffers that are never alive together share bytes.

## 4. What the machine does

`edgec show $model --text loops --target $target`, the first kernel:

```text
$loops
```

One row of the image at a time, $rows columns by eight channels in registers: $rows accumulators, each a vector of channels, since channels
lie innermost. The weights come from a table, a parameter of its own, in the order in which they are read: `p4[... : 8]` is always the next
eight numbers. The columns at the border simply leave out the taps that fall outside, and the rows at the border have a shorter loop
(`max(0, -i0 + 1)`): no test is left in the inner loop, and nobody has padded anything.

## 5. LLVM

`edgec compile $model --target $target --emit llvm,asm`

The module of the first kernel, as LLVM is given it, to the first multiply-add:

```llvm
$llvm
```

And the inner loop, as LLVM gives it back:

```asm
$asm
```

$fmas multiply-adds on vectors, $loads loads of weights and $broadcasts broadcasts of pixels an iteration, no spill: the register tile was
chosen to fit the sixteen vector registers of the target.

## 6. The C header

`edgec compile $model --target $target` writes `digits.o`, `digits.h` and `digits.json`. From the header:

```c
$header
```

How it is called is in [embedding](embedding.md).
""")


WINOGRAD = """\
* The third convolution has become Winograd's: {stages} stages in one kernel, of which the matrix product is shown. Its three parts are
  described in [schedules](schedules.md#winograd).
"""
MODEL_PATH = Path(__file__).resolve().parents[1] / MODEL


def page() -> str:
    """The whole page."""
    graph, target = edgec.load(MODEL_PATH), find(TARGET)
    texts = compiled_texts(graph, target)
    tiled = tile(texts.program.steps[0], target)
    module = module_text(tiled.loops, target, "kernel")
    asm = inner_loop(compile_module(module, target, "3", ("asm",)).asm)
    artifact = emit(texts.program, target, "digits", workers=0)
    loops = print_loops(tiled.loops)
    return PAGE.substitute(
        model=MODEL, target=TARGET, loaded=fit(print_graph(graph)[0]), optimised=fit(texts.graph[0]),
        kernels=fit(shortened(texts.kernels[0])), winograd=winograd(texts.program.steps[2]), loops=fit(loops),
        rows=loops.count("= splat"), llvm=fit(first_fma(module)),
        asm=asm, fmas=asm.count("vfmadd"), loads=asm.count("vmovups"), broadcasts=asm.count("vbroadcastss"),
        header=excerpt(header(artifact.interface)))


def fit(text: str) -> str:
    """Lines of at most WIDTH columns; constants of more than three numbers show the first two."""
    text = re.sub(r"\{([^{},\n]+,[^{},\n]+),[^{}\n]+,[^{}\n]+\}", r"{\1,...}", text)
    lines = []
    for line in text.strip("\n").split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(line, WIDTH, subsequent_indent=f"{indent}        ", break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(lines)


def shortened(text: str) -> str:
    """The program with only the matrix product of its Winograd kernel."""
    lines = []
    for part in text.split("\n\n"):
        kept = part.split("\n")
        if part.startswith("kernel") and len(kept) > 40:
            product = next(line for line in kept if "add_over" in line)
            kept = [kept[0], f"  ...  ({kept.index(product) - 1} lines)", product, f"  ...  ({len(kept) - kept.index(product) - 1} lines)"]
        lines.append("\n".join(kept))
    return "\n\n".join(lines)


def winograd(kernel: Kernel) -> str:
    """A line about the third convolution, where the compiler has rewritten it."""
    return WINOGRAD.format(stages=len(kernel.stages)) if len(kernel.stages) > 1 else ""


def first_fma(module: str) -> str:
    """The module to its first multiply-add, without the attributes of pointers and most of the accumulators."""
    lines = module[:module.index("\n", module.index("@llvm.fma"))].split("\n")
    phis = [n for n, line in enumerate(lines) if "phi <" in line]
    lines = [re.sub(r"<((?:float) \S+), .*?>, %", r"<\1, ...>, %", line) for line in lines]
    lines[phis[1]:phis[-1] + 1] = [f"  ; {len(phis) - 1} more accumulators"]
    return "\n".join(lines) + "\n  ; ..."


def inner_loop(asm: str) -> str:
    """The instructions of the innermost loop, from its label to the jump back."""
    label = re.findall(r"^(\.LBB\w+):", asm, re.MULTILINE)[-1]
    start = asm.index(f"{label}:")
    end = asm.index("\n", asm.rindex(label))
    return asm[start:end].replace("\t", "    ")


def excerpt(text: str) -> str:
    """The constants, the structs and the function of the header."""
    start, end = text.index("/* slots"), text.index("static inline")
    return text[start:end].strip()
