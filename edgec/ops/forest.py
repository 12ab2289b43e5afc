"""Decision trees as tables, whatever form a model gives them in. Every node asks `x[feature] <= split`:

    x < s is x <= (the number below s); x >= s and x > s swap the branches; x == s is two nodes; membership a chain of such pairs.

NaN fails every comparison but `!=`; where a swap would change that, or the model says so, `upwards` sends it the way of `yes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgec.errors import ModelError

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")  # numbered as in TreeEnsemble


@dataclass(frozen=True)
class Forest:
    """Nodes first, then leaves, which lead to themselves; `roots` names the first node of each tree, weights are [leaves, targets]."""

    features: np.ndarray
    splits: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    upwards: np.ndarray
    roots: np.ndarray
    weights: np.ndarray
    nodes: int
    depth: int

    def leaf(self, root: int, values: np.ndarray) -> int:
        """The leaf that a row of features reaches from a root."""
        place = root
        while place < self.nodes:
            value = values[self.features[place]]
            taken = self.upwards[place] if np.isnan(value) else value <= self.splits[place]
            place = (self.yes if taken else self.no)[place]
        return place - self.nodes


@dataclass
class _Builder:
    """Collects nodes; branches are numbers of nodes, or ~number of leaves."""

    dtype: Any
    rows: list[tuple[int, float, int, int, bool]] = field(default_factory=list)

    def reserve(self) -> int:
        self.rows.append((0, 0.0, 0, 0, False))
        return len(self.rows) - 1

    def test(self, place: int, mode: str, feature: int, split: float, yes: int, no: int, nan: bool) -> None:
        """Fill in a node: a test of one number. `nan` says that NaN goes to `yes`."""
        if mode == "BRANCH_LEQ":
            self.rows[place] = (feature, split, yes, no, nan)
        elif mode == "BRANCH_LT":
            self.rows[place] = (feature, below(split, self.dtype), yes, no, nan)
        elif mode in ("BRANCH_GT", "BRANCH_GTE"):
            self.test(place, "BRANCH_LEQ" if mode == "BRANCH_GT" else "BRANCH_LT", feature, split, no, yes, not nan)
        elif mode == "BRANCH_EQ":
            other, last = self.reserve(), self.reserve() if nan else 0
            self.rows[place] = (feature, split, other, last if nan else no, False)
            self.rows[other] = (feature, below(split, self.dtype), no, yes, False)
            if nan:  # NaN and what is larger come this way
                self.rows[last] = (feature, np.inf, no, yes, False)
        else:  # BRANCH_NEQ, true for NaN
            self.test(place, "BRANCH_EQ", feature, split, no, yes, False)

    def member(self, place: int, feature: int, members: Sequence[float], yes: int, no: int, nan: bool) -> None:
        """Fill in a node that asks whether a number is one of some."""
        for number, member in enumerate(members):
            following = self.reserve() if number + 1 < len(members) else no
            self.test(place, "BRANCH_EQ", feature, member, yes, following, nan and number + 1 == len(members))
            place = following
        if not len(members):
            self.rows[place] = (feature, np.inf, no, yes if nan else no, False)

    def forest(self, roots: Sequence[int], weights: np.ndarray) -> Forest:
        nodes, leaves = len(self.rows), len(weights)
        own = np.arange(nodes, nodes + leaves)
        columns = list(zip(*self.rows)) if self.rows else [()] * 5
        yes, no, starts = (np.array([n if n >= 0 else nodes + ~n for n in each], np.int64) for each in (columns[2], columns[3], roots))
        padded = [np.concatenate([np.array(c), np.zeros(leaves)]) for c in (columns[0], columns[1], columns[4])]
        return Forest(padded[0].astype(np.int32), padded[1].astype(self.dtype), np.concatenate([yes, own]).astype(np.int32),
                      np.concatenate([no, own]).astype(np.int32), padded[2].astype(bool), starts.astype(np.int32), weights, nodes,
                      _depth(starts, yes, no, nodes))


def below(split: float, dtype: Any) -> float:
    """The largest normal number below one; none between it and zero counts, since processors may flush those to zero."""
    found, tiny = np.nextafter(dtype(split), dtype(-np.inf)), np.finfo(dtype).tiny
    return found if found == 0 or abs(found) >= tiny else dtype(0) if found > 0 else -tiny


def _depth(roots: np.ndarray, yes: np.ndarray, no: np.ndarray, nodes: int) -> int:
    """Steps to the deepest leaf. ModelError where nodes lead in a circle."""
    front, depth = np.unique(roots[roots < nodes]), 0
    while front.size:
        following = np.unique(np.concatenate([yes[front], no[front]]))
        front, depth = following[following < nodes], depth + 1
        if depth > nodes:
            raise ModelError("the nodes of a tree lead in a circle")
    return depth


def forest_of_nodes(op: Any) -> Forest:
    """The trees of a TreeEnsemble, where nodes and leaves are numbered apart."""
    dtype = np.asarray(op.nodes_splits).dtype.type
    builder = _Builder(dtype)
    values = np.zeros(0) if op.membership_values is None else np.asarray(op.membership_values)
    sets = iter(part[~np.isnan(part)] for part in np.split(values, np.flatnonzero(np.isnan(values)) + 1))
    places = [builder.reserve() for _ in op.nodes_featureids]
    for n, place in enumerate(places):
        yes = ~op.nodes_truenodeids[n] if op.nodes_trueleafs[n] else _checked(op.nodes_truenodeids[n], places)
        no = ~op.nodes_falsenodeids[n] if op.nodes_falseleafs[n] else _checked(op.nodes_falsenodeids[n], places)
        nan = bool(op.nodes_missing_value_tracks_true and op.nodes_missing_value_tracks_true[n])
        mode = MODES[int(op.nodes_modes[n])]
        if mode == "BRANCH_MEMBER":
            builder.member(place, op.nodes_featureids[n], next(sets), yes, no, nan)
        else:
            builder.test(place, mode, op.nodes_featureids[n], op.nodes_splits[n], yes, no, nan)
    weights = np.zeros((len(op.leaf_targetids), op.n_targets), np.asarray(op.leaf_weights).dtype)
    weights[np.arange(len(weights)), list(op.leaf_targetids)] = op.leaf_weights
    return builder.forest([_checked(r, places) for r in op.tree_roots], weights)


def _checked(number: int, places: Sequence[int]) -> int:
    if not 0 <= number < len(places):
        raise ModelError(f"a tree names node {number}, there are {len(places)}")
    return places[number]


def forest_of_lists(op: Any, trees: Sequence[int], nodes: Sequence[int], targets: Sequence[int], weights: Sequence[float],
                    tensor: np.ndarray | None, number: int) -> Forest:
    """The trees of the older operators: nodes named by (tree, node), leaves among them, each with any number of (target, weight)."""
    given = op.nodes_values if op.nodes_values_as_tensor is None else op.nodes_values_as_tensor
    splits = np.asarray(given, None if op.nodes_values_as_tensor is not None else np.float32)
    keys = list(zip(op.nodes_treeids, op.nodes_nodeids))
    if len(set(keys)) != len(keys) or len(splits) != len(keys):
        raise ModelError("the lists of the nodes of a tree ensemble do not fit together")
    builder, place = _Builder(splits.dtype.type), {}
    leaves = {key: n for n, key in enumerate(k for k, mode in zip(keys, op.nodes_modes) if mode == "LEAF")}
    for key, mode in zip(keys, op.nodes_modes):
        place[key] = ~leaves[key] if mode == "LEAF" else builder.reserve()
    for n, (key, mode) in enumerate(zip(keys, op.nodes_modes)):
        if mode != "LEAF":
            try:
                yes, no = place[key[0], op.nodes_truenodeids[n]], place[key[0], op.nodes_falsenodeids[n]]
            except KeyError as missing:
                raise ModelError(f"tree {key[0]} has no node {missing.args[0][1]}, which node {key[1]} names") from None
            nan = bool(op.nodes_missing_value_tracks_true and op.nodes_missing_value_tracks_true[n])
            builder.test(place[key], mode, op.nodes_featureids[n], splits[n], yes, no, nan)
    values = np.asarray(weights, np.float32) if tensor is None else np.asarray(tensor)
    dense = np.zeros((len(leaves), number), values.dtype)
    np.add.at(dense, ([leaves[key] for key in zip(trees, nodes)], list(targets)), values)
    first: dict[int, int] = {}
    for key in keys:
        first.setdefault(key[0], place[key])
    return builder.forest(list(first.values()), dense)
