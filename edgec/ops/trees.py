"""Ensembles of decision trees: TreeEnsemble TreeEnsembleRegressor TreeEnsembleClassifier.

All become one walk over tables: TreeLeaves goes from the root of each tree down to a leaf, and the weights of the leaves are gathered and
summed. A node asks `x[feature] <= split`; the other tests are said with it (see edgec.ops.forest).

    TreeEnsembleRegressor(x, n_targets=1, nodes_featureids=(0, 0, 0), ...)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, compare, maximum, minimum, select
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.ops.arithmetic import Add, Div
from edgec.ops.cast import Cast
from edgec.ops.class_scores import binary_scores, label_of_second, labels_of, transformed
from edgec.ops.forest import Forest, forest_of_lists, forest_of_nodes
from edgec.ops.gather import Gather
from edgec.ops.reduction import ReduceMax, ReduceMin, ReduceSum
from edgec.types import TensorType, bool_, dtype_of, f32, f64, i32, i64, index, string

DEEPEST = 512  # steps are written out


class TreeLeaves(Op):
    """The leaf that each row reaches in each tree, i32[rows, trees].

    `x` is [rows, features]; the tables have an element for every node and then one for every leaf, which leads to itself; `upwards` says
    where a NaN goes the way of `yes`. The result counts leaves from 0.
    """

    domain = "edgec"
    x: Value
    features: Value
    splits: Value
    yes: Value
    no: Value
    upwards: Value
    roots: Value
    nodes: int
    depth: int

    def infer(self) -> TensorType:
        self.require(self.x.type.rank == 2 and self.x.dtype in (f32, f64), f"needs f32 or f64 [rows, features], it is {self.x.type}")
        self.require(self.splits.dtype is self.x.dtype, f"splits of {self.splits.dtype} for {self.x.dtype}")
        self.require(self.upwards.dtype is bool_ and self.features.dtype is self.yes.dtype is self.no.dtype is self.roots.dtype is i32,
                     "tables are i32 and bool")
        return TensorType(i32, (self.x.shape[0], *self.roots.shape))

    def reference(self, x, features, splits, yes, no, upwards, roots) -> np.ndarray:
        place = np.tile(roots, (len(x), 1))
        for _ in range(self.depth):
            value = np.take_along_axis(x, features[place], 1)
            place = np.where(np.where(np.isnan(value), upwards[place], value <= splits[place]), yes[place], no[place])
        return place - np.int32(self.nodes)

    def lower(self, at: tuple[Expr, ...], x: Reader, features: Reader, splits: Reader, yes: Reader, no: Reader, upwards: Reader,
              roots: Reader) -> Expr:
        any_upwards = not self.upwards.is_constant or self.upwards.array.any()
        place = roots(at[1])
        for _ in range(self.depth):
            node = _within(place, self.features.shape[0])
            value = x(at[0], _within(features(node), self.x.shape[1]))
            below = compare("le", value, splits(node))
            if any_upwards:
                below = below | (compare("ne", value, value) & upwards(node))
            place = select(below, yes(node), no(node))
        return place - self.nodes


def _within(number: Expr, extent: Any) -> Expr:
    """A number from a table as an index that never leaves its axis."""
    return maximum(minimum(cast(number, index), extent - 1), 0)


class Ensemble(Op):
    """Base of the three forms: scores by target from the leaves."""

    abstract = True
    domain = "ai.onnx.ml"
    x: Value

    def require_rows(self) -> None:
        self.require(self.x.type.rank == 2, f"needs [rows, features], it is {self.x.type}")

    def scores(self, forest: Forest, aggregate: str) -> Value:
        """f32 or f64 [rows, targets], without base values."""
        if forest.depth > DEEPEST:
            raise Unsupported(f"{type(self).__name__} with trees {forest.depth} deep", loc=self.loc, hint=f"at most {DEEPEST} are compiled")
        x = Cast(self.x, to=1 if forest.splits.dtype == np.float32 else 11).output
        tables = map(constant, (forest.features, forest.splits, forest.yes, forest.no, forest.upwards, forest.roots))
        leaves = TreeLeaves(x, *tables, nodes=forest.nodes, depth=forest.depth).output
        weights = Gather(constant(forest.weights), leaves, axis=0).output
        reduce = {"MIN": ReduceMin, "MAX": ReduceMax}.get(aggregate, ReduceSum)
        total = reduce(weights, constant(np.array([1])), keepdims=0).output
        return Div(total, constant(forest.weights.dtype.type(len(forest.roots)))).output if aggregate == "AVERAGE" else total

    def walked(self, forest: Forest, x: np.ndarray, aggregate: str) -> np.ndarray:
        """The same in numpy, one row and one tree after the other: float64 [rows, targets]."""
        combine = {"MIN": np.min, "MAX": np.max, "AVERAGE": np.mean}.get(aggregate, np.sum)
        found = np.zeros((len(x), forest.weights.shape[1]))
        for row, values in enumerate(x.astype(forest.splits.dtype)):
            leaves = [forest.leaf(root, values) for root in forest.roots]
            found[row] = combine(forest.weights[leaves].astype(np.float64), axis=0)
        return found


class TreeEnsemble(Ensemble):
    """ONNX TreeEnsemble: the leaves that each row reaches in some trees, their weights combined by target."""

    aggregate_function: int = 1
    leaf_targetids: tuple
    leaf_weights: Any
    membership_values: Any = None
    n_targets: int = 1
    nodes_falseleafs: tuple
    nodes_falsenodeids: tuple
    nodes_featureids: tuple
    nodes_hitrates: Any = None
    nodes_missing_value_tracks_true: tuple = ()
    nodes_modes: Any
    nodes_splits: Any
    nodes_trueleafs: tuple
    nodes_truenodeids: tuple
    post_transform: int = 0
    tree_roots: tuple

    def infer(self) -> TensorType:
        self.require_rows()
        self.require(self.x.dtype in (f32, f64), f"the operand is {self.x.dtype}; f32 or f64 is needed")
        self.require(dtype_of(self.leaf_weights.dtype) is self.x.dtype, f"weights of {self.leaf_weights.dtype} for {self.x.dtype}")
        return TensorType(self.x.dtype, (self.x.shape[0], self.n_targets))

    def _forest(self) -> Forest:
        return forest_of_nodes(self)

    @property
    def _aggregate(self) -> str:
        return ("AVERAGE", "SUM", "MIN", "MAX")[self.aggregate_function]

    @property
    def _transform(self) -> str:
        return ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[self.post_transform]

    def reference(self, x: np.ndarray) -> np.ndarray:
        scores = self.walked(self._forest(), x, self._aggregate)
        return transformed(scores, self._transform).astype(x.dtype)

    def decompose(self) -> Value:
        return transformed(self.scores(self._forest(), self._aggregate), self._transform)


class ListedEnsemble(Ensemble):
    """Base of the older forms: nodes as lists with the numbers of their trees."""

    abstract = True
    base_values: tuple = ()
    base_values_as_tensor: Any = None
    nodes_falsenodeids: tuple
    nodes_featureids: tuple
    nodes_hitrates: tuple = ()
    nodes_hitrates_as_tensor: Any = None
    nodes_missing_value_tracks_true: tuple = ()
    nodes_modes: tuple
    nodes_nodeids: tuple
    nodes_treeids: tuple
    nodes_truenodeids: tuple
    nodes_values: tuple = ()
    nodes_values_as_tensor: Any = None
    post_transform: str = "NONE"

    def bases(self) -> np.ndarray:
        """What is added to the scores; none or one number a target."""
        given = self.base_values_as_tensor if self.base_values_as_tensor is not None else np.float32(self.base_values)
        return np.asarray(given).ravel()


class TreeEnsembleRegressor(ListedEnsemble):
    """ONNX TreeEnsembleRegressor: the weights of the leaves that each row reaches, combined by target."""

    aggregate_function: str = "SUM"
    n_targets: int = 1
    target_ids: tuple
    target_nodeids: tuple
    target_treeids: tuple
    target_weights: tuple = ()
    target_weights_as_tensor: Any = None

    def infer(self) -> TensorType:
        self.require_rows()
        self.require(len(self.bases()) in (0, self.n_targets), f"{len(self.bases())} base values for {self.n_targets} targets")
        return TensorType(f32, (self.x.shape[0], self.n_targets))

    def _forest(self) -> Forest:
        return forest_of_lists(self, self.target_treeids, self.target_nodeids, self.target_ids, self.target_weights,
                               self.target_weights_as_tensor, self.n_targets)

    def reference(self, x: np.ndarray) -> np.ndarray:
        scores = self.walked(self._forest(), x, self.aggregate_function) + (self.bases() if self.bases().size else 0)
        return transformed(scores, self.post_transform).astype(np.float32)

    def decompose(self) -> Value:
        scores = _offset(self.scores(self._forest(), self.aggregate_function), self.bases())
        return Cast(transformed(scores, self.post_transform), to=1).output


class TreeEnsembleClassifier(ListedEnsemble):
    """ONNX TreeEnsembleClassifier: the label of the class with the highest score, and the scores of all classes."""

    class_ids: tuple
    class_nodeids: tuple
    class_treeids: tuple
    class_weights: tuple = ()
    class_weights_as_tensor: Any = None
    classlabels_int64s: tuple = ()
    classlabels_strings: tuple = ()

    def infer(self) -> tuple[TensorType, TensorType]:
        self.require_rows()
        labels = string if self.classlabels_strings else i64
        return TensorType(labels, (self.x.shape[0],)), TensorType(f32, (self.x.shape[0], len(self._labels)))

    @property
    def _labels(self) -> tuple:
        return self.classlabels_strings or self.classlabels_int64s

    @property
    def _is_binary(self) -> bool:
        """Two classes of which the leaves name but the first: its score is the second's (so exporters use it, and onnxruntime reads it)."""
        return len(self._labels) == 2 and set(self.class_ids) == {0}

    @property
    def _weights(self) -> np.ndarray:
        return np.asarray(self.class_weights if self.class_weights_as_tensor is None else self.class_weights_as_tensor)

    def _forest(self) -> Forest:
        ids, number = ((0,) * len(self.class_ids), 1) if self._is_binary else (self.class_ids, len(self._labels))
        return forest_of_lists(self, self.class_treeids, self.class_nodeids, ids, self.class_weights, self.class_weights_as_tensor, number)

    def _base(self) -> np.ndarray:
        return self.bases()[-1:] if self._is_binary else self.bases()

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = self.walked(self._forest(), x, "SUM") + (self._base() if self._base().size else 0)
        return self._found(scores.astype(np.float32))

    def decompose(self) -> tuple[Value, Value]:
        return self._found(Cast(_offset(self.scores(self._forest(), "SUM"), self._base()), to=1).output)

    def _found(self, scores: Any) -> tuple[Any, Any]:
        probabilities, labels = bool((self._weights >= 0).all()), self._labels
        threshold = 0.5 if probabilities else 0.0
        if self._is_binary:
            return binary_scores(scores, labels, self.post_transform, threshold, rest=probabilities)
        one_named = len(labels) == 2 and set(self.class_ids) == {1}
        found = label_of_second(scores, labels, threshold) if one_named else labels_of(scores, labels)
        return found, transformed(scores, self.post_transform)


def _offset(scores: Value, bases: np.ndarray) -> Value:
    return Add(scores, constant(bases.astype(scores.dtype.numpy))).output if bases.size else scores


