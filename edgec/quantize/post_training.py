"""quantize(model, calib) -> Quantized: a float network as one of integers, from samples of its inputs; nothing is trained.

    load -> prepare (fold, biases) -> recipe (who computes with integers) -> calibrate (ranges) -> weights (integers) -> insert (QDQ graph)

    made = quantize("model.onnx", {"image": images});  made.save("model_int8.onnx");  compile(made.graph)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from onnx import ModelProto

from edgec.errors import ModelError
from edgec.graph import Graph, Op, Value
from edgec.onnx_reader import load
from edgec.onnx_writer import model_proto
from edgec.quantize import calibration_data
from edgec.quantize.calibrate import Progress, grids_of, layer_arrays, observe
from edgec.quantize.grid import Grid
from edgec.quantize.insert import Weights, inserted
from edgec.quantize.layer_data import LayerData, Rounding
from edgec.quantize.node_names import node_name, ops_named
from edgec.quantize.prepare import prepared
from edgec.quantize.recipe import FLOAT, Recipe, recipe_of
from edgec.quantize.run_values import runner
from edgec.quantize.weights import grid_of_weights, quantized_weights, to_nearest
from edgec.types import DTYPES

DEFAULT_CALIBRATOR = "minmax"


@dataclass(frozen=True)
class Options:
    """How a network is quantized; the fields are the keyword parameters of `quantize`."""

    calibrator: str = DEFAULT_CALIBRATOR
    activations: str = "u8"
    weight_bits: int = 8
    granularity: str = "channel"
    symmetric: bool = True
    power_of_two: bool = False
    keep_float: tuple[str, ...] = ()
    rounding: Rounding = to_nearest
    threads: int = 1


@dataclass(frozen=True, eq=False)
class Quantized:
    """The network of integers: its graph, the float one it was made of, and the recipe, grids and weights in between."""

    graph: Graph
    original: Graph
    recipe: Recipe
    grids: Mapping[Value, Grid]
    weights: Mapping[Op, Weights]

    @property
    def model(self) -> ModelProto:
        """The ONNX model: QuantizeLinear and DequantizeLinear around standard operators."""
        return model_proto(self.graph)

    def save(self, path: str | Path) -> None:
        """Write the ONNX file, whole or not at all."""
        from edgec.backends.artifact import write_files
        write_files({Path(path): self.model.SerializeToString()})


def quantize(model: Any, calib: Any, *, shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None,
             progress: Progress = lambda what, done, total: None, **options: Any) -> Quantized:
    """Quantize an ONNX file (or bytes, ModelProto, Graph) with calibration samples (see edgec.quantize.calibration_data).

    `calibrator` is one of CALIBRATORS; `activations` u8, i8 or i16; `weight_bits` 8 or 4; `granularity` channel or tensor; `symmetric` says
    that weights have zero point 0; `power_of_two` that all scales are such; `keep_float` names nodes that stay f32; `rounding` is a
    method that rounds the weights of a layer (LayerData); `threads` for the float network. ModelError for data that does not fit.
    """
    chosen = Options(**options)
    _check(chosen)
    original = model if isinstance(model, Graph) else load(model, shapes, bind)
    samples = calibration_data.samples(original, calib)
    graph = prepared(original)
    recipe = recipe_of(graph, {op: FLOAT for name in chosen.keep_float for op in ops_named(original, graph, name)})
    observers = observe(recipe, samples, chosen.calibrator in ("percentile", "entropy", "mse"), chosen.threads, progress)
    grids = grids_of(recipe, observers, chosen.calibrator, DTYPES[chosen.activations], chosen.power_of_two)
    weights = _weights(recipe, grids, samples, chosen, progress)
    return Quantized(inserted(recipe, grids, weights, _constants(chosen)), graph, recipe, grids, weights)


def _check(options: Options) -> None:
    allowed = {"activations": ("u8", "i8", "i16"), "weight_bits": (8, 4), "granularity": ("channel", "tensor")}
    for name, values in allowed.items():
        if getattr(options, name) not in values:
            raise ModelError(f"{name} cannot be {getattr(options, name)}", hint="one of " + ", ".join(map(str, values)))


def _constants(options: Options) -> Any:
    return DTYPES[options.activations if options.activations != "i16" else "i8"]


def _weights(recipe: Recipe, grids: Mapping[Value, Grid], samples: Sequence[Mapping[str, np.ndarray]], options: Options,
             progress: Progress) -> dict[Op, Weights]:
    """The integers of every layer."""
    found, layers = {}, recipe.layers
    for number, op in enumerate(layers):
        progress("rounding weights", number, len(layers))
        found[op] = quantized_weights(layer_data(recipe, op, grids, samples, options), options.rounding)
    progress("rounding weights", len(layers), len(layers))
    return found


def layer_data(recipe: Recipe, op: Op, grids: Mapping[Value, Grid], samples: Sequence[Mapping[str, np.ndarray]],
               options: Options) -> LayerData:
    """What a rounding method sees of a layer."""
    x, w, *rest = op.operands
    bias = rest[0].array if rest else None
    x_grid = grids[recipe.values[x]]
    grid = grid_of_weights(op, w.array, bias, x_grid, bits=options.weight_bits, per_channel=options.granularity == "channel",
                           symmetric=options.symmetric, power_of_two=options.power_of_two)
    return LayerData(node_name(op), op, w.array, bias, grid, x_grid, partial(_inputs, recipe.graph, x, samples, options.threads))


def _inputs(graph: Graph, x: Value, samples: Sequence[Mapping[str, np.ndarray]], threads: int) -> list[np.ndarray]:
    return layer_arrays(runner(graph, [x], threads), samples)
