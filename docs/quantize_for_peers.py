"""Quantizes an ONNX file with a peer's own tool; run by docs/convert_peers.py in an environment that has the tool.

    python docs/quantize_for_peers.py onnxruntime net.onnx samples.npz net_ort_int8.onnx     static QDQ: u8 activations, i8 weights per channel
    python docs/quantize_for_peers.py openvino net.onnx samples.npz net_nncf_int8.xml        NNCF's post-training quantization

`samples.npz` holds each input under its name with one more axis in front, that of the samples.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def samples(path: str) -> Iterator[dict[str, np.ndarray]]:
    """One dict of arrays by input name a sample."""
    arrays = dict(np.load(path))
    for n in range(len(next(iter(arrays.values())))):
        yield {name: array[n] for name, array in arrays.items()}


def for_onnxruntime(model: str, data: str, made: str) -> None:
    """quantize_static after its pre-processing, with what its documentation recommends for a CPU that has VNNI."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = samples(data)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        q.quant_pre_process(model, prepared, skip_symbolic_shape=True)  # all sizes are known; the step would need another package
        q.quantize_static(prepared, made, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                          activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8)


def for_openvino(model: str, data: str, made: str) -> None:
    """nncf.quantize with its defaults, and what its documentation recommends: the scheme of transformers for those, and activations with
    zero points (preset MIXED) where functions other than Relu give negative numbers."""
    import nncf
    import openvino

    network = openvino.Core().read_model(model)
    given = list(samples(data))
    kinds = {node.get_type_name() for node in network.get_ordered_ops()}
    scheme: dict[str, Any] = {"model_type": nncf.ModelType.TRANSFORMER} if {"Softmax", "MVN"} <= kinds else {}
    if kinds & {"HSwish", "HSigmoid", "HardSigmoid", "Swish", "Sigmoid", "Elu", "PRelu", "Gelu", "Mish"}:
        scheme["preset"] = nncf.QuantizationPreset.MIXED
    quantized = nncf.quantize(network, nncf.Dataset(given), subset_size=len(given), **scheme)
    openvino.save_model(quantized, made, compress_to_fp16=False)


if __name__ == "__main__":
    {"onnxruntime": for_onnxruntime, "openvino": for_openvino}[sys.argv[1]](*sys.argv[2:])
