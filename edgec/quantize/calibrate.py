"""Calibration: samples pass through the float network while an observer watches every value that needs a grid.

    observers = observe(recipe, samples)        # {value: Observer}
    grids = grids_of(recipe, observers, "mse", u8)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Value
from edgec.ops.activation import HardSigmoid, Sigmoid
from edgec.ops.softmax import Softmax
from edgec.quantize.calibrators import CALIBRATORS
from edgec.quantize.grid import Grid, activation_grid
from edgec.quantize.layer_inputs import LayerInputs
from edgec.quantize.observer import Observer
from edgec.quantize.recipe import BYTE, Recipe
from edgec.quantize.run_values import runner
from edgec.types import DType, i16

PROBABILITIES = (Sigmoid, HardSigmoid, Softmax)  # their results lie between 0 and 1, whatever was seen
Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


def observe(recipe: Recipe, samples: Sequence[Mapping[str, np.ndarray]], histogram: bool = True, threads: int = 1,
            progress: Progress = lambda what, done, total: None, inputs: LayerInputs | None = None) -> dict[Value, Observer]:
    """What is seen of every value that a grid is made for; `inputs` sees the operands of layers. ModelError where the network itself gives
    NaN or infinity."""
    observers = {value: Observer(histogram) for value in recipe.candidates}
    values = tuple(dict.fromkeys([*observers, *(inputs.values if inputs else ())]))
    run = runner(recipe.graph, values, len(samples), threads, lambda done, total: progress("compiling the float network", done, total))
    for number, sample in enumerate(samples):
        progress("calibrating", number, len(samples))
        arrays = dict(zip(values, run(sample)))
        for value, observer in observers.items():
            observer.see(_finite(value, arrays[value], number))
        if inputs:
            inputs.see(number, arrays)
    progress("calibrating", len(samples), len(samples))
    return observers


def _finite(value: Value, array: np.ndarray, number: int) -> np.ndarray:
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise ModelError(f"the value '{value.name}' is not finite for calibration sample {number}", loc=value.loc,
                         hint="check that the samples are prepared as the model expects them")
    return array


def grids_of(recipe: Recipe, observers: Mapping[Value, Observer], method: str, dtype: DType,
             power_of_two: bool = False) -> dict[Value, Grid]:
    """A grid for every observed value: 8 bits of `dtype` over the range of the calibrator `method`, or 16 bits over all that was seen."""
    if method not in CALIBRATORS:
        raise ModelError(f"there is no calibrator '{method}'", hint="there are " + ", ".join(CALIBRATORS))
    return {value: _grid(value, observers[value], recipe.bits[value], method, dtype, power_of_two) for value in recipe.observed}


def _grid(value: Value, observer: Observer, bits: int, method: str, dtype: DType, power_of_two: bool) -> Grid:
    if isinstance(value.op, PROBABILITIES):
        return activation_grid(0.0, 1.0, dtype if bits == BYTE else i16, power_of_two)
    low, high = CALIBRATORS[method if bits == BYTE else "minmax"](observer)
    return activation_grid(low, high, dtype if bits == BYTE else i16, power_of_two)

