"""How near to the peak of its dot products of bytes each layer of ResNet-50 comes, on one core: writes docs/integer-layers.md.

    python docs/measure_integer_layers.py                    # all of them, about two minutes
    python docs/measure_integer_layers.py --match 3x3        # some, on standard output

A layer is a model of its own, bytes in and out, channels last as they are inside of a network: a QLinearConv with bias and requantisation,
and where the network adds a shortcut, that too. A time is the least of 25 rounds of processor time, each the mean of as many calls as
fill 20 ms, the direct form and Winograd's in turn; and of three passes over all layers, since a shared third-level cache is slow for
seconds at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.target import find
from edgec.bench.turns import least_times
from edgec.compiler import compile
from edgec.graph import Graph, Value, constant, graph_input
from edgec.machine_peak import peak_dots
from edgec.ops.quantized import QLinearConv
from edgec.ops.quantized_arithmetic import QLinearAdd
from edgec.ops.reshape import Transpose
from edgec.types import TensorType, u8

PASSES = 3
PAGE = Path(__file__).with_name("integer-layers.md")
HEAD = """# Integer layers

<!-- written by docs/measure_integer_layers.py -->

The layers of ResNet-50 in bytes on one core ({seen}), whose dot products of bytes from registers reach {peak:.0f} GOP/s
(a product and its sum are two operations): the least time of many rounds in {passes} passes over all layers, all of a layer
counted: sums, bias, requantisation, the shortcut where the network adds one, stores. *Winograd* is the form that the compiler takes
for the layer by itself, with fewer operations; it is exact, bit for bit (see [schedules](schedules.md#winograd)), and its rate is that
of the direct form's operations. Taps that fall on padding are counted and not done, so that a small picture can exceed the peak.

"""
TABLE = """| layer | us | GOP/s | of peak | Winograd us | Winograd GOP/s |
|---|---|---|---|---|---|"""
LEVELS = """## Without dot products of bytes

Code for x86-64-v3 (AVX2) and x86-64-v2 (SSE4.2) on the same computer: bytes are widened to 16 bits, and the peak is that of `pmaddwd` with
an addition behind it. The operands of Winograd are of 16 bits by themselves, so there it saves all that it saves in floats."""


@dataclass(frozen=True)
class Layer:
    """A convolution of `size` x `size` images by a square kernel, padded by half of it; `adds` a shortcut to its result."""

    channels: int
    filters: int
    kernel: int
    size: int
    stride: int = 1
    adds: bool = False
    times: int = 1

    @property
    def out(self) -> int:
        return -(-self.size // self.stride)

    @property
    def operations(self) -> int:
        return 2 * self.filters * self.channels * self.kernel ** 2 * self.out ** 2

    @property
    def name(self) -> str:
        parts = (f"{self.kernel}x{self.kernel}, {self.channels} to {self.filters}", f"{self.size}x{self.size}",
                 f"stride {self.stride}" if self.stride > 1 else "", "sum" if self.adds else "",
                 f"{self.times} times" if self.times > 1 else "")
        return ", ".join(filter(None, parts))


LAYERS = (
    Layer(3, 64, 7, 224, 2),
    Layer(64, 64, 1, 56), Layer(64, 64, 3, 56, times=3), Layer(64, 256, 1, 56), Layer(64, 256, 1, 56, adds=True, times=3),
    Layer(256, 64, 1, 56, times=2), Layer(256, 128, 1, 56),
    Layer(128, 128, 3, 56, 2), Layer(128, 128, 3, 28, times=3), Layer(128, 512, 1, 28, adds=True, times=4), Layer(256, 512, 1, 56, 2),
    Layer(512, 128, 1, 28, times=3), Layer(512, 256, 1, 28),
    Layer(256, 256, 3, 28, 2), Layer(256, 256, 3, 14, times=5), Layer(256, 1024, 1, 14, adds=True, times=6), Layer(512, 1024, 1, 28, 2),
    Layer(1024, 256, 1, 14, times=5), Layer(1024, 512, 1, 14),
    Layer(512, 512, 3, 14, 2), Layer(512, 512, 3, 7, times=2), Layer(512, 2048, 1, 7, adds=True, times=3), Layer(1024, 2048, 1, 14, 2),
    Layer(2048, 512, 1, 7, times=2),
)
ON_LEVELS = (Layer(64, 64, 3, 56, times=3), Layer(256, 64, 1, 56, times=2), Layer(128, 512, 1, 28, adds=True, times=4),
             Layer(256, 256, 3, 14, times=5))


def graph(layer: Layer) -> Graph:
    """The layer as a model of NHWC tensors of u8."""
    numbers = np.random.default_rng(1)
    weights = np.clip(np.round(30 * numbers.standard_normal((layer.filters, layer.channels, layer.kernel, layer.kernel))), -127, 127)
    taps, zero = layer.channels * layer.kernel ** 2, constant(np.zeros((), np.uint8))
    scale = lambda value, *shape: constant(np.full(shape, value, np.float32))
    x, pad = graph_input("x", TensorType(u8, (1, layer.size, layer.size, layer.channels))), layer.kernel // 2
    bias = constant(numbers.integers(-1000, 1000, layer.filters).astype(np.int32))
    y = QLinearConv(_first(x), scale(1.0), zero, constant(weights.astype(np.int8)), scale(1.0, layer.filters),
                    constant(np.zeros((), np.int8)), scale(40 * taps ** 0.5), zero, bias,
                    pads=(pad,) * 4, strides=(layer.stride,) * 2).output
    inputs = [x]
    if layer.adds:
        inputs.append(graph_input("z", TensorType(u8, (1, layer.out, layer.out, layer.filters))))
        y = QLinearAdd(y, scale(1.0), zero, _first(inputs[1]), scale(0.7), zero, scale(1.3), zero).output
    return Graph(tuple(inputs), (Transpose(y, (0, 2, 3, 1)).output,), ("y",), "layer")


def _first(x: Value) -> Value:
    """Channels first, as ONNX wants them."""
    return Transpose(x, (0, 3, 1, 2)).output


def loaded(layer: Layer, target: str = "native") -> list[Any]:
    """The direct form, then Winograd's where the compiler takes that, loaded and compared."""
    model = graph(layer)
    artifacts = [compile(model, target, winograd=False)]
    if layer.kernel == 3 and layer.stride == 1:
        artifacts.append(compile(model, target, max_flash_growth=16.0))
    inputs = {v.name: np.random.default_rng(2).integers(0, 256, tuple(v.type.shape)).astype(np.uint8) for v in model.inputs}
    forms = [artifact.load() for artifact in artifacts]
    results = [each.run(inputs)["y"] for each in forms]
    if any(not np.array_equal(results[0], each) for each in results[1:]):
        raise SystemExit(f"{layer.name}: the two forms differ")
    return forms


def one_pass(layers: Sequence[list[Any]], target: str) -> tuple[list[list[float]], float]:
    """Seconds of each form of each layer, and the peak, the highest seen between them."""
    found, peaks = [], []
    for forms in layers:
        found.append(least_times([each.call for each in forms]))
        peaks.append(peak_dots(find(target)))
    return found, max(peaks)


def merged(passes: Sequence[tuple[list[list[float]], float]]) -> tuple[list[list[float]], float]:
    """The least times of several passes, and the highest peak."""
    return [[min(form) for form in zip(*layer)] for layer in zip(*(found for found, _ in passes))], max(peak for _, peak in passes)


def measured(layers: Sequence[Layer], target: str = "native") -> tuple[list[list[float]], float]:
    """Seconds of each form of each layer, and the peak, of all passes."""
    forms = [loaded(each, target) for each in layers]
    return merged([one_pass(forms, target) for _ in range(PASSES)])


def line(layer: Layer, found: list[float], peak: float) -> str:
    rate = layer.operations / found[0]
    other = f" {1e6 * found[1]:.0f} | {layer.operations / found[1] / 1e9:.0f} |" if len(found) > 1 else " | |"
    return f"| {layer.name} | {1e6 * found[0]:.0f} | {rate / 1e9:.0f} | {rate / peak:.0%} |{other}"


def level(name: str, found: list[list[float]], peak: float) -> str:
    """The table of an older level."""
    head = f"{name}, whose peak is {peak / 1e9:.0f} GOP/s:"
    return "\n".join([head, "", TABLE, *(line(layer, times, peak) for layer, times in zip(ON_LEVELS, found))])


def section(layers: Sequence[Layer], found: list[list[float]], peak: float) -> str:
    """The table of this computer with its sum."""
    whole = sum(layer.times * times[0] for layer, times in zip(layers, found))
    rate = sum(layer.times * layer.operations for layer in layers) / whole
    summary = f"All of them, as often as the network has them: {1e3 * whole:.1f} ms in direct form, {rate / peak:.0%} of the peak."
    return "\n".join([TABLE, *(line(layer, times, peak) for layer, times in zip(layers, found)), "", summary])


def page(found: list[list[float]], peak: float, levels: dict[str, tuple[list[list[float]], float]]) -> str:
    """The page, of what was measured on this computer and for older levels."""
    head = HEAD.format(peak=peak / 1e9, seen=find("native").seen.partition(" with ")[0], passes=PASSES)
    return "\n\n".join([head + section(LAYERS, found, peak), LEVELS, *(level(name, *one) for name, one in levels.items())]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only layers whose name has this in it; nothing is written")
    match = parser.parse_args().match
    layers = [each for each in LAYERS if match in each.name]
    found, peak = measured(layers)
    if match:
        print(section(layers, found, peak))
        return 0
    levels = {name: measured(ON_LEVELS, name) for name in ("x86-64-v3", "x86-64-v2")}
    PAGE.write_text(page(found, peak, levels), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
