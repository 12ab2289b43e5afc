"""Quantized models against onnxruntime: writes the tables of docs/quantization.md between its marks `onnxruntime`.

    python docs/measure_quantized.py ../shared/peers/*_ort_minmax.onnx

Operator by operator edgec's interpreter is fed onnxruntime's own tensors (edgec.bench.onnxruntime_tensors); whole models are compared by
the largest output and by SQNR, and native code with the interpreter bit for bit. Inputs are drawn. The exit status is 1 when native code
differs from the interpreter.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from platformdirs import user_cache_path

from edgec.bench.onnxruntime_tensors import Compared, compare_operators, session
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.passes.integers import integer_form

PAGE = Path(__file__).resolve().parent / "quantization.md"
BEGIN, END = "<!-- onnxruntime: begin -->\n", "<!-- onnxruntime: end -->"
SAMPLES = 12

TEXT = """\
## Against onnxruntime, operator by operator

Written by [measure_quantized.py](measure_quantized.py): every operator of the graphs that onnxruntime {version} makes of {models} models
in QDQ form, fed onnxruntime's own tensors. `Conv (f32)` is one that it computes in f32 between DequantizeLinear and QuantizeLinear.

{kernels}

Whole models on {samples} drawn inputs, edgec against onnxruntime's default session on this computer (with VNNI). A quantum more or less in
one tensor is carried on by all that follow.

{whole}
"""


@dataclass(frozen=True)
class Whole:
    """A model: how many samples have the same largest output, the SQNR in dB of the outputs, and whether native code is exact."""

    name: str
    agree: int
    samples: int
    decibels: float
    exact: bool


def opened(path: Path) -> dict[str, int]:
    """1 for every open dimension of a model."""
    inputs = onnx.load(path, load_external_data=False).graph.input
    return {d.dim_param: 1 for i in inputs for d in i.type.tensor_type.shape.dim if d.dim_param}


def operators(paths: Sequence[Path]) -> list[Compared]:
    found = []
    for path in paths:
        bind = opened(path)
        found += compare_operators(path, drawn_inputs(load(path, None, bind)), bind)
    return found


def kernel_table(found: Iterable[Compared]) -> str:
    """One line a kernel."""
    by_kernel: dict[str, list[Compared]] = {}
    for each in found:
        by_kernel.setdefault(each.kernel, []).append(each)
    lines = [f"| {name} | {len(group)} | {sum(c.elements for c in group):,} | {sum(c.different for c in group):,} | "
             f"{max(c.largest for c in group)} |" for name, group in sorted(by_kernel.items())]
    return "\n".join(["| kernel of onnxruntime | operators | elements | different | by quanta |", "|---|---|---|---|---|", *lines])


def sqnr(theirs: Sequence[np.ndarray], ours: Sequence[np.ndarray]) -> float:
    """Signal to noise in dB; infinite where all is equal."""
    signal = sum(float((t.astype(np.float64) ** 2).sum()) for t in theirs)
    noise = sum(float(((t.astype(np.float64) - o) ** 2).sum()) for t, o in zip(theirs, ours))
    return 10 * np.log10(signal / noise) if noise else np.inf


def whole(path: Path, samples: int) -> Whole:
    graph = load(path, None, opened(path))
    integer, judge, artifact = integer_form(graph), session(path), compile(graph, cache=user_cache_path("edgec"))
    theirs, ours, agree, exact = [], [], 0, True
    for seed in range(samples):
        inputs = drawn_inputs(graph, seed)
        expected, found = judge.run(list(graph.output_names), inputs), interpret(integer, inputs)
        theirs += expected
        ours += list(found.values())
        agree += int(np.argmax(expected[0]) == np.argmax(found[graph.output_names[0]]))
        exact &= same(artifact.run(inputs), found)
    artifact.loaded.close()
    return Whole(path.stem.removesuffix("_ort_minmax"), agree, samples, sqnr(theirs, ours), exact)


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[n], b[n]) for n in b)


def whole_table(found: Iterable[Whole]) -> str:
    lines = [f"| {w.name} | {w.agree} of {w.samples} | {'equal' if np.isinf(w.decibels) else f'{w.decibels:.1f} dB'} | "
             f"{'every bit' if w.exact else 'no'} |" for w in found]
    return "\n".join(["| model | same largest output | SQNR | native code equals the interpreter |", "|---|---|---|---|", *lines])


def written(page: str, text: str) -> str:
    """The page with a text between the marks, which stand at its end where it had none."""
    if BEGIN not in page:
        page = f"{page.rstrip()}\n\n{BEGIN}{END}\n"
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}"


def main() -> int:
    import onnxruntime
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    arguments = parser.parse_args()
    paths = sorted(arguments.models)
    models = [whole(path, arguments.samples) for path in paths]
    text = TEXT.format(version=onnxruntime.__version__, models=len(paths), kernels=kernel_table(operators(paths)),
                       samples=arguments.samples, whole=whole_table(models))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0 if all(w.exact for w in models) else 1


if __name__ == "__main__":
    raise SystemExit(main())
