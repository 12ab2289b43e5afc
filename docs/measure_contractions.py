"""How near to the processor's peak single contractions come, on one core: writes docs/contractions.md.

    python docs/measure_contractions.py                     # all of them, about four minutes
    python docs/measure_contractions.py --match matmul      # some, on standard output

Matrix products are held against numpy's (OpenBLAS, one thread), the two timed in turn; convolutions against the measured peak alone. A
contraction is a model of its own, compiled as every model is and called in this process. A time is the least of 25 rounds, each the
mean of as many calls as fill 20 ms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from edgec.backends.target import find
from edgec.bench.turns import least_times
from edgec.compiler import compile
from edgec.graph import Graph
from edgec.graph_text import parse_graph
from edgec.machine_peak import peak_flops

PAGE = Path(__file__).with_name("contractions.md")
HEAD = """# Contractions

<!-- written by docs/measure_contractions.py -->

Single matrix products and convolutions in f32 on one core ({seen}), whose multiply-adds from registers reach {peak:.1f} GFLOP/s: the
least time of many rounds. No case of these is known to the compiler: every schedule is its estimate, see [schedules](schedules.md). The
second matrix is a constant, packed when it is compiled, unless both come with the call; numpy's product with OpenBLAS is timed in turn
with ours. A product with one row reads a matrix for every result, and is as fast as that can be read. Convolutions are without
Winograd, which does with fewer operations ([benchmarks](benchmarks.md) has whole networks); taps that fall on padding are counted and
not done, so that a small picture can exceed the peak."""


@dataclass(frozen=True)
class Case:
    """A contraction: a line of the table, its graph, its multiply-adds, and numpy's way to do it, if it has one."""

    name: str
    graph: Graph
    macs: int
    numpy: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def matmul(m: int, k: int, n: int, weights: bool) -> Case:
    """[m,k] times [k,n]; the second matrix is a constant of the model (packed when it is compiled) or comes with each call."""
    right = f"@w: f32[{k},{n}]" if weights else ""
    inputs = f"%x: f32[{m},{k}]" + ("" if weights else f", %w: f32[{k},{n}]")
    text = f"graph product({inputs}) -> (%y) {{\n  {right}\n  %y = MatMul(%x, {'@w' if weights else '%w'}) : f32[{m},{n}]\n}}\n"
    arrays = {"w": drawn((k, n))} if weights else {}
    return Case(f"{m} x {k} x {n}{'' if weights else ', both at run time'}", parse_graph(text, arrays), m * k * n, np.matmul)


def convolution(channels: int, rows: int, columns: int, filters: int, kernel: int, stride: int = 1, group: int = 1) -> Case:
    """A square kernel, padded by half of it, with bias and relu; channels are neighbours, as they are inside of a network."""
    pad = kernel // 2
    out = [(extent + 2 * pad - kernel) // stride + 1 for extent in (rows, columns)]
    text = f"""graph layer(%x: f32[1,{rows},{columns},{channels}]) -> (%out) {{
  @w: f32[{filters},{channels // group},{kernel},{kernel}]
  @b: f32[{filters}]
  %in = Transpose(%x) perm=[0,3,1,2] : f32[1,{channels},{rows},{columns}]
  %y = Conv(%in, @w, @b) group={group} pads=[{pad},{pad},{pad},{pad}] strides=[{stride},{stride}] : f32[1,{filters},{out[0]},{out[1]}]
  %z = Relu(%y) : f32[1,{filters},{out[0]},{out[1]}]
  %out = Transpose(%z) perm=[0,2,3,1] : f32[1,{out[0]},{out[1]},{filters}]
}}
"""
    kind = "depthwise" if group == channels else f"{group} groups" if group > 1 else ""
    steps = f"stride {stride}" if stride > 1 else ""
    name = ", ".join(filter(None, (f"{kernel}x{kernel}, {channels} to {filters}", f"{rows}x{columns}", steps, kind)))
    arrays = {"w": drawn((filters, channels // group, kernel, kernel)), "b": drawn((filters,))}
    return Case(name, parse_graph(text, arrays), filters * out[0] * out[1] * channels // group * kernel * kernel)


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that neither vanish nor grow."""
    return np.random.default_rng(1).standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))


CASES: tuple[tuple[str, Callable[..., Case], tuple[tuple, ...]], ...] = (
    ("Matrix products", matmul, (
        (256, 256, 256, True), (512, 512, 512, True), (1024, 1024, 1024, True), (2048, 2048, 2048, True),
        (1024, 1024, 1024, False), (2048, 2048, 2048, False),
        (197, 192, 576, True), (197, 768, 192, True), (128, 384, 1536, True), (1000, 1000, 1000, True), (333, 777, 555, True),
        (4096, 16, 64, True), (4096, 32, 192, True), (4096, 64, 64, False), (64, 4096, 64, True),
        (1, 512, 512, True), (1, 1024, 4096, True), (1, 4096, 4096, True), (8, 1024, 1024, True))),
    ("Convolutions, direct", convolution, (
        (64, 56, 56, 64, 1), (256, 56, 56, 64, 1), (512, 28, 28, 128, 1), (1024, 14, 14, 256, 1), (2048, 7, 7, 512, 1),
        (24, 56, 56, 144, 1), (160, 7, 7, 960, 1), (256, 56, 56, 512, 1, 2),
        (64, 56, 56, 64, 3), (128, 28, 28, 128, 3), (512, 7, 7, 512, 3), (128, 56, 56, 128, 3, 2),
        (17, 31, 29, 45, 3), (3, 224, 224, 32, 3, 2), (3, 224, 224, 64, 7, 2), (128, 28, 28, 128, 3, 1, 32), (128, 28, 28, 128, 3, 1, 4),
        (32, 112, 112, 32, 3, 1, 32), (144, 56, 56, 144, 3, 1, 144), (960, 7, 7, 960, 3, 1, 960), (96, 112, 112, 96, 3, 2, 96))),
)


def measured(case: Case) -> tuple[float, float | None]:
    """Seconds of one call, and of numpy's."""
    artifact = compile(case.graph, "native", winograd=False)
    inputs = {value.name: drawn(tuple(value.type.shape)) for value in case.graph.inputs}
    with artifact.load() as loaded:
        loaded.run(inputs)
        calls: list[Callable[[], object]] = [loaded.call]
        if case.numpy is not None:
            left = inputs["x"]
            right = inputs["w"] if "w" in inputs else drawn((left.shape[1], case.graph.outputs[0].type.shape[1]))
            calls.append(lambda: case.numpy(left, right))
        found = least_times(calls)
    return found[0], found[1] if len(found) > 1 else None


def table(found: list[tuple[Case, float, float | None]], peak: float) -> Iterator[str]:
    """Markdown lines of one group."""
    against = any(numpy for _, _, numpy in found)
    yield "| m x k x n | GFLOP/s | of peak | OpenBLAS GFLOP/s | OpenBLAS / edgec |" if against else "| layer | GFLOP/s | of peak |"
    yield "|---|---|---|---|---|" if against else "|---|---|---|"
    for case, seconds, numpy in found:
        rate = 2e-9 * case.macs / seconds
        line = f"| {case.name} | {rate:.1f} | {1e9 * rate / peak:.0%} |"
        yield line + (f" {2e-9 * case.macs / numpy:.1f} | {numpy / seconds:.2f} |" if numpy else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only contractions whose name has this in it; nothing is written")
    match = parser.parse_args().match
    target, rates, groups = find("native"), [], []
    with threadpool_limits(1):
        for title, make, arguments in CASES:
            found = []
            for case in (make(*each) for each in arguments):
                if match in f"{title} {case.name}":
                    found.append((case, *measured(case)))
                    rates.append(peak_flops(target))
            groups.append((title, found))
    peak = max(rates)
    sections = [f"## {title}\n\n" + "\n".join(table(found, peak)) for title, found in groups if found]
    if match:
        print(*sections, f"peak {peak / 1e9:.1f} GFLOP/s", sep="\n\n")
    else:
        PAGE.write_text("\n\n".join([HEAD.format(peak=peak / 1e9, seen=target.seen.partition(" with ")[0]), *sections]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
