"""Post-training quantization: a float ONNX model and samples of its inputs become a model of integers in standard ONNX (QDQ form).

`quantize` does it all; one file holds one step of it (see post_training). A method that rounds weights in its own way is a function from
LayerData to integers, given as `rounding=`; it stands in a file of its own and shares nothing with the rest but LayerData and Grid.

    from edgec.quantize import quantize
    quantize("model.onnx", {"image": images}, calibrator="mse", rounding=my_method).save("model_int8.onnx")
"""

from edgec.quantize.calibrators import CALIBRATORS
from edgec.quantize.grid import Grid, activation_grid, weight_grid
from edgec.quantize.layer_data import LayerData, Rounding
from edgec.quantize.mixed import Mixed, quantize_within
from edgec.quantize.post_training import Quantized, quantize
from edgec.quantize.weights import to_nearest

__all__ = ["CALIBRATORS", "Grid", "LayerData", "Mixed", "Quantized", "Rounding", "activation_grid", "quantize", "quantize_within",
           "to_nearest", "weight_grid"]
