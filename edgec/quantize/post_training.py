"""quantize(model, calib) -> Quantized: a float network as one of integers, from samples of its inputs; nothing is trained.

    load -> prepare (fold, biases) -> recipe (who computes with integers) -> calibrate (ranges) -> weights (integers) -> insert (QDQ graph)

    made = quantize("model.onnx", {"image": images});  made.save("model_int8.onnx");  compile(made.graph)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from edgec.backends.target import Target, find
from edgec.errors import ModelError
from edgec.graph import Graph, Op, Value
from edgec.onnx.reader import load
from edgec.onnx.writer import model_proto
from edgec.quantize import calibration_data
from edgec.quantize.bias_correction import corrected
from edgec.quantize.calibrate import Progress, grids_of, observe
from edgec.quantize.cells import Cells, cell_grids
from edgec.quantize.equalization import Rounded, equalized
from edgec.quantize.grid import Grid
from edgec.quantize.insert import Weights, inserted
from edgec.quantize.layer_data import LayerData, Rounding
from edgec.quantize.layer_inputs import LayerInputs
from edgec.quantize.node_names import node_name, ops_named
from edgec.quantize.predicted_speed import Prediction, predictions
from edgec.quantize.prepare import prepared
from edgec.quantize.recipe import FLOAT, WIDE, Recipe, recipe_of
from edgec.quantize.weights import grid_of_weights, quantized_weights, to_nearest
from edgec.types import DTYPES, DType

DEFAULT_CALIBRATOR = "mse"


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
    bias_correction: bool = True
    equalize: str = "none"
    faster_on: str | Target | None = None
    threads: int = 1


@dataclass(frozen=True, eq=False)
class Quantized:
    """The network of integers: its graph, the float one it was made of, the recipe, grids and weights in between, and what layers were
    predicted to take on the target that was asked about."""

    graph: Graph
    original: Graph
    recipe: Recipe
    grids: Mapping[Value, Grid]
    weights: Mapping[Op, Weights | Cells]
    predicted: Sequence[Prediction] = ()

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
    method that rounds the weights of a layer (LayerData); `bias_correction` takes the mean error of rounding into the biases; `equalize`
    cross-layer, smooth or both moves scales of channels; layers that are predicted to be slower in integers than in f32 on the target
    `faster_on` stay f32 (see predicted_speed); `threads` for the float network. ModelError for data that does not fit.
    """
    making = Making(model, calib, shapes, bind, progress, options)
    return making.finished(making.kept)


class Making:
    """A quantization under way: the prepared graph, the samples and what was observed of them; any mixture of levels is made from it."""

    def __init__(self, model: Any, calib: Any, shapes: Mapping[str, Any] | None, bind: Mapping[str, Any] | None, progress: Progress,
                 options: Mapping[str, Any]):
        self.options, self.progress = Options(**options), progress
        _check(self.options)
        original = model if isinstance(model, Graph) else load(model, shapes, bind)
        self.samples = calibration_data.samples(original, calib)
        self.graph = _equalized(prepared(original), self.samples, self.options)
        self.kept = {op: FLOAT for name in self.options.keep_float for op in ops_named(original, self.graph, name)}
        self.predicted = self._predicted()
        self.kept |= {p.op: FLOAT for p in self.predicted if p.is_slower}
        histogram = self.options.calibrator in ("percentile", "entropy", "mse")
        self._rounded: dict[tuple[Op, int], Weights] = {}
        self._inputs = LayerInputs(self.graph, self.samples)
        self.observers = observe(self.recipe({}), self.samples, histogram, self.options.threads, progress, self._inputs)

    def _predicted(self) -> list[Prediction]:
        """What every layer is predicted to take on the target that integers are wanted for."""
        target = self.options.faster_on
        return [] if target is None else predictions(self.recipe({}), find(target) if isinstance(target, str) else target)

    def recipe(self, levels: Mapping[Op, int]) -> Recipe:
        """Who computes with integers under these levels; the nodes that are kept stay f32, and no grid is finer than asked for."""
        wide = {op: WIDE for op in self.graph.ops} if self.options.activations == "i16" else {}
        return recipe_of(self.graph, wide | dict(levels) | self.kept)

    def grids(self, recipe: Recipe) -> dict[Value, Grid]:
        """The grids of a recipe."""
        return grids_of(recipe, self.observers, self.options.calibrator, _byte(self.options), self.options.power_of_two)

    def weights(self, recipe: Recipe) -> dict[Op, Weights | Cells]:
        """The integers of every layer, rounded once for 8 and once for 16 bits of its operand, and how recurrent layers are rounded."""
        grids = self.grids(recipe)
        keys = {op: (op, recipe.bits[recipe.values[op.operands[0]]]) for op in recipe.layers}
        missing = [op for op in recipe.layers if keys[op] not in self._rounded]
        for number, op in enumerate(missing):
            self.progress("rounding weights", number, len(missing))
            layer = layer_data(recipe, op, grids, self._inputs, self.options)
            made = quantized_weights(layer, self.options.rounding)
            self._rounded[keys[op]] = corrected(layer, made) if self.options.bias_correction else made
        self.progress("rounding weights", len(missing), len(missing))
        given = {"weight_bits": self.options.weight_bits, "per_channel": self.options.granularity == "channel",
                 "symmetric": self.options.symmetric, "power_of_two": self.options.power_of_two}
        cells = {op: cell_grids(op, grids, **given) for op in recipe.cells}
        return {op: self._rounded[keys[op]] for op in recipe.layers} | cells

    def finished(self, levels: Mapping[Op, int]) -> Quantized:
        """The network of integers under these levels."""
        recipe = self.recipe(levels)
        grids, weights = self.grids(recipe), self.weights(recipe)
        return Quantized(inserted(recipe, grids, weights, _byte(self.options)), self.graph, recipe, grids, weights, self.predicted)


def _check(options: Options) -> None:
    allowed = {"activations": ("u8", "i8", "i16"), "weight_bits": (8, 4), "granularity": ("channel", "tensor")}
    for name, values in allowed.items():
        if getattr(options, name) not in values:
            raise ModelError(f"{name} cannot be {getattr(options, name)}", hint="one of " + ", ".join(map(str, values)))


def _equalized(graph: Graph, samples: Sequence[Mapping[str, np.ndarray]], options: Options) -> Graph:
    """The graph with its channels scaled, if that is asked for."""
    if options.equalize == "none":
        return graph
    rounded = Rounded(options.weight_bits, DTYPES[options.activations], options.granularity == "channel")
    return equalized(graph, samples, rounded, options.equalize)


def _byte(options: Options) -> DType:
    """The type of 8-bit activations."""
    return DTYPES[options.activations if options.activations != "i16" else "i8"]


def layer_data(recipe: Recipe, op: Op, grids: Mapping[Value, Grid], inputs: Callable[[Op], list[np.ndarray]],
               options: Options) -> LayerData:
    """What a rounding method sees of a layer; `inputs` gives its operands on the samples, when they are asked for."""
    x, w, *rest = op.operands
    bias = rest[0].array if rest else None
    x_grid = grids[recipe.values[x]]
    grid = grid_of_weights(op, w.array, bias, x_grid, bits=options.weight_bits, per_channel=options.granularity == "channel",
                           symmetric=options.symmetric, power_of_two=options.power_of_two)
    return LayerData(node_name(op), op, w.array, bias, grid, x_grid, partial(inputs, op))
