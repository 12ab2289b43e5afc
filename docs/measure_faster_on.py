"""Whether `--faster-on` decides rightly: writes the table of docs/quantization.md between its marks `faster on`.

    python docs/measure_faster_on.py                         # all layers, some two minutes of processor time
    python docs/measure_faster_on.py --match 3x3             # some, on standard output

Each layer is a network of its own between neighbours of bytes, compiled twice: in integers, and in f32 with the conversions that it needs
there. A time is the least of many rounds of processor time of one thread, both forms in turn. The estimate is the one that decides, see
edgec/quantize/predicted_speed.py; it is wrong where the form that it takes is slower by more than SLACK.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec.backends.target import find
from edgec.bench.turns import least_times
from edgec.compiler import compile
from edgec.graph import Graph, Op, constant, graph_input
from edgec.ops.convolution import Conv
from edgec.ops.matmul import Gemm
from edgec.quantize.predicted_speed import between_bytes, predictions
from edgec.quantize.recipe import recipe_of
from edgec.types import TensorType, f32

PAGE = Path(__file__).with_name("quantization.md")
BEGIN, END = "<!-- faster on: begin -->\n", "<!-- faster on: end -->"
TARGETS = ("x86-64-v3", "x86-64-v2")
SLACK = 0.1  # of the faster form's time
HEAD = "| layer | target | integers, us | f32, us | f32 / integers | estimated | chosen |\n|---|---|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Layer:
    """A square convolution padded by half its kernel, in groups of one channel where it is `depthwise`; or, of kernel 0, a matrix product
    of `size` rows."""

    channels: int
    filters: int
    kernel: int
    size: int
    stride: int = 1
    depthwise: bool = False

    @property
    def name(self) -> str:
        if not self.kernel:
            return f"product of {self.size} x {self.channels} and {self.channels} x {self.filters}"
        kind = f"depthwise, {self.channels}" if self.depthwise else f"{self.channels} to {self.filters}"
        return f"{self.kernel}x{self.kernel}, {kind}, {self.size}x{self.size}" + (f", stride {self.stride}" if self.stride > 1 else "")

    @property
    def op(self) -> Op:
        """Its operator, with drawn weights."""
        if not self.kernel:
            return Gemm(graph_input("x", TensorType(f32, (self.size, self.channels))), _drawn(self.channels, self.filters), _name="y")
        shape = (self.filters, 1 if self.depthwise else self.channels, self.kernel, self.kernel)
        x = graph_input("x", TensorType(f32, (1, self.channels, self.size, self.size)))
        return Conv(x, _drawn(*shape), _drawn(self.filters), pads=(self.kernel // 2,) * 4, strides=(self.stride,) * 2,
                    group=self.channels if self.depthwise else 1, _name="y")


LAYERS = (
    Layer(3, 32, 3, 224, 2), Layer(32, 32, 3, 112, depthwise=True), Layer(16, 96, 1, 112), Layer(96, 96, 3, 112, 2, depthwise=True),
    Layer(144, 24, 1, 56), Layer(384, 384, 3, 14, depthwise=True), Layer(320, 1280, 1, 7), Layer(120, 120, 5, 28, depthwise=True),
    Layer(16, 16, 3, 32), Layer(32, 64, 3, 16, 2), Layer(64, 64, 3, 8), Layer(64, 64, 3, 56), Layer(256, 64, 1, 56), Layer(256, 256, 3, 14),
    Layer(1280, 1000, 0, 1), Layer(640, 128, 0, 1), Layer(192, 768, 0, 197),
)


def _drawn(*shape: int):
    return constant(np.random.default_rng(1).standard_normal(shape).astype(np.float32) / np.float32(np.prod(shape[1:]) ** 0.5))


@dataclass(frozen=True)
class Found:
    """Seconds of both forms, and how many times as long as integers f32 is estimated to take."""

    integer: float
    real: float
    estimated: float

    @property
    def verdict(self) -> str:
        taken, other = (self.integer, self.real) if self.estimated >= 1 else (self.real, self.integer)
        name = "integers" if self.estimated >= 1 else "f32"
        return name if taken <= other else f"{name}, {taken / other - 1:.0%} slower" if taken <= (1 + SLACK) * other \
            else f"**{name}, {taken / other - 1:.0%} slower**"


def measured(layer: Layer, target: str) -> Found:
    """Both forms of a layer on a target that this computer can run."""
    op = layer.op
    predicted, = predictions(recipe_of(Graph((op.operands[0],), (op.output,), ("y",), "layer")), find(target))
    forms = [between_bytes(op, integers) for integers in (True, False)]
    loaded = [compile(form, target).load() for form in forms]
    x = np.random.default_rng(2).integers(0, 256, forms[0].inputs[0].type.max_shape).astype(np.uint8)
    for each in loaded:
        each.run({"x": x})
    integer, real = least_times([each.call for each in loaded])
    for each in loaded:
        each.close()
    return Found(integer, real, predicted.float_cycles / predicted.integer_cycles)


def line(layer: Layer, target: str, found: Found) -> str:
    return f"| {layer.name} | {target} | {1e6 * found.integer:.0f} | {1e6 * found.real:.0f} | {found.real / found.integer:.2f} " \
           f"| {found.estimated:.2f} | {found.verdict} |"


def summary(lines: list[str]) -> str:
    """How many the estimate decides rightly."""
    return f"Rightly, or within a tenth: {sum('**' not in each for each in lines)} of {len(lines)}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only layers whose name has this in it; nothing is written")
    match, lines = parser.parse_args().match, []
    for target in TARGETS:
        for layer in LAYERS:
            if match in layer.name:
                lines.append(line(layer, target, measured(layer, target)))
                print(lines[-1], flush=True)
    if not match:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(before + BEGIN + HEAD + "\n".join(lines) + f"\n\n{summary(lines)}\n" + END + rest.split(END)[1], encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
