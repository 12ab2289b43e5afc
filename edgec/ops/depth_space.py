"""Blocks of pixels into channels and back: DepthToSpace SpaceToDepth.

    DepthToSpace(x, blocksize=2, mode="CRD").output        # pixel shuffle
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, dim
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.shape_arithmetic import Dim, exact_quotient
from edgec.types import TensorType


class BlockMove(Op):
    """Base of the two: an image batch, the side of a block, and the order of channels: block first (DCR) or depth first (CRD)."""
    abstract = True
    x: Value
    blocksize: int
    mode: str = "DCR"

    def check(self) -> tuple[Dim, ...]:
        """The four sizes of the operand."""
        self.require(len(self.x.shape) == 4, f"needs an image batch [n, c, y, x], the operand is {self.x.type}")
        self.require(self.blocksize > 0, f"blocksize {self.blocksize} is not positive")
        self.require(self.mode in ("DCR", "CRD"), f"mode '{self.mode}' is neither DCR nor CRD")
        return self.x.shape

    def divided(self, size: Dim, by: int, what: str) -> Dim:
        quotient = exact_quotient((size,), (by,))
        self.require(quotient is not None, f"the {what} {size} is not a multiple of {by}")
        return quotient


class DepthToSpace(BlockMove):
    """ONNX DepthToSpace: channels become blocks of `blocksize` x `blocksize` pixels."""

    def infer(self) -> TensorType:
        n, c, y, x = self.check()
        side = self.blocksize
        return self.x.type.with_shape((n, self.divided(c, side * side, "channel count"), dim(y * side), dim(x * side)))

    def reference(self, x: np.ndarray) -> np.ndarray:
        n, c, height, width = x.shape
        side, depth = self.blocksize, c // self.blocksize ** 2
        if self.mode == "DCR":
            parts = x.reshape(n, side, side, depth, height, width).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = x.reshape(n, depth, side, side, height, width).transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(n, depth, height * side, width * side)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        n, c, row, column = at
        side, depth = self.blocksize, self.output.shape[1]
        block = (row % side) * side + column % side
        channel = block * depth + c if self.mode == "DCR" else c * (side * side) + block
        return x(n, channel, row // side, column // side)


class SpaceToDepth(BlockMove):
    """ONNX SpaceToDepth: blocks of `blocksize` x `blocksize` pixels become channels."""

    def infer(self) -> TensorType:
        n, c, y, x = self.check()
        side = self.blocksize
        return self.x.type.with_shape((n, dim(c * (side * side)), self.divided(y, side, "height"), self.divided(x, side, "width")))

    def reference(self, x: np.ndarray) -> np.ndarray:
        n, c, height, width = x.shape
        side = self.blocksize
        parts = x.reshape(n, c, height // side, side, width // side, side)
        order = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return parts.transpose(order).reshape(n, c * side * side, height // side, width // side)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        n, channel, row, column = at
        side, depth = self.blocksize, x.shape[1]
        block, c = (channel // depth, channel % depth) if self.mode == "DCR" else (channel % (side * side), channel // (side * side))
        return x(n, c, row * side + block // side, column * side + block % side)
