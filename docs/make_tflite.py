"""Writes docs/tflite.md: what of TFLite is read, and what each operator becomes.

    page()      # '# TFLite models\\n\\n...'
"""

from __future__ import annotations

from edgec.tflite.converters import MOVES, REAL
from edgec.tflite.file import DTYPES
from edgec.tflite.fixed.operators import FIXED

PAGE = """\
# TFLite models

<!-- written by docs/make_tflite.py; `make docs` writes it anew -->

Every command takes a `.tflite` file where it takes an ONNX file; the package that knows the schema is an extra:

```
pip install 'edgec[tflite]'
edgec compile model.tflite --target cortex-m4 -o build
edgec run model.tflite --inputs in.npz --requant=tflite
edgec bench model.tflite --requant=tflite --against litert
```

Inputs and outputs have the names, types and order of the file; channels stay last there, and quantized ones stay integers. Inside,
convolutions have their channels first between two transpositions, which the layout pass turns into no work. A size that the file leaves
open is the one in the file (mostly 1), or what `--shape` says. Everything is checked while reading: a file that is cut short, has offsets
or shapes out of range, or an operator that is not in the list below, ends in one message that names the place.

## Two arithmetics

A quantized tensor stands for `scale * (integer - zero point)`, with one scale, or one for each channel.

* **Without `--requant`** an operator on quantized tensors is DequantizeLinear, the operator on real numbers, QuantizeLinear, as in an ONNX
  file with QDQ. Graph passes make integer operators of that, which sum exactly and scale in f32, rounding once, halves to even: see
  [quantized models](quantization.md). Results are within a quantum or so of TFLite's at every layer.
* **With `--requant=tflite`** they are, bit for bit, those of TFLite's reference kernels (the interpreter with the resolver BUILTIN_REF and
  without a delegate; measured with LiteRT 2.3 on x86-64): 31-bit multipliers and shifts instead of f32 scales, sums of tensors with 20
  more bits, the fixed-point softmax, activations by tables. No floating-point instruction is executed.

How TFLite rounds was found out by experiment, since it can be built in two ways. Convolutions, sums, products and means round **twice**:
the upper half of the doubled 64-bit product is rounded (halves up), then shifted with rounding (halves away from zero). FULLY_CONNECTED
rounds **once**, since even the reference kernel hands the product to the matrix library ruy. What a file needs where
TFLite has no such form, or where edgec does not have it yet, is an error that names the operator; without `--requant` it compiles.

Weights that alone are quantized (dynamic range) are made real: activations stay f32, which is closer to the trained model than TFLite's
quantizing them on the way. `--requant` is about quantized tensors; f32 operators compute in f32 either way.

## Types

Tensors of {dtypes}; 4-bit constants are read as i8.

## Operators

*real*: on real numbers, and on quantized ones between DequantizeLinear and QuantizeLinear. *moves*: only moves or compares elements, so
integers of one scale stay as they are. *exact*: has a form in TFLite's own arithmetic (for 8-bit tensors; ADD, SUB, MUL, MEAN, QUANTIZE and
DEQUANTIZE for 16-bit ones as well).

| operator | form | with `--requant=tflite` |
|---|---|---|
{rows}

A fused activation can be none, RELU, RELU6 or RELU_N1_TO_1. STRIDED_SLICE has no ellipsis and no new axis, GATHER no batch dimensions;
axes, shapes, sizes and paddings are constants of the file or follow from shapes.
"""


def page() -> str:
    """The whole page."""
    return PAGE.format(dtypes=", ".join(dict.fromkeys(t.name for t in DTYPES.values())),
                       rows="\n".join(row(name) for name in sorted({*REAL, *MOVES, *FIXED})))


def row(name: str) -> str:
    """One operator of the table."""
    exact = "exact" if name in FIXED else "as it is" if name in MOVES else "of real numbers alone"
    return f"| {name} | {'moves' if name in MOVES else 'real'} | {exact} |"
