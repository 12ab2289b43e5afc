"""Operators of TFLite on real numbers, whole numbers and truth values: one model each, against TFLite's usual kernels."""

import numpy as np
import pytest

import edgec
from edgec.errors import CompileError
from edgec.tflite.converters import MOVES, REAL

RNG = np.random.default_rng(3)


def ints(*numbers):
    return np.array(numbers, np.int32)


def positive(dtype, shape, seed):
    return (np.abs(np.random.default_rng(seed).normal(1, 1, shape)) + 0.1).astype(dtype.numpy)


# (operator, operands: a shape is an f32 input, (type, shape) an input, an array a constant; results; options)
CASES = [
    *((name, [(2, 3, 4)], [(2, 3, 4)], None) for name in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "ELU",
                                                          "HARD_SWISH", "ABS", "NEG", "EXP", "SQUARE", "SIN", "COS", "FLOOR", "CEIL",
                                                          "ROUND", "SIGN", "LOG_SOFTMAX")),
    *((name, [(2, 3, 4)], [(2, 3, 4)], "positive") for name in ("LOG", "SQRT", "RSQRT")),
    *((name, [(2, 3, 4), (3, 1)], [(2, 3, 4)], (f"{name.title()}Options", {"fused_activation_function": 1}))
      for name in ("ADD", "SUB", "MUL", "DIV")),
    *((name, [(2, 3, 4), (2, 3, 4)], [(2, 3, 4)], None) for name in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD")),
    *((name, [("i32", (2, 30)), ("i32", (2, 30))], [("i32", (2, 30))], None) for name in ("MAXIMUM", "FLOOR_DIV", "FLOOR_MOD")),
    *((name, [(2, 3, 4), (3, 1)], [("bool", (2, 3, 4))], None) for name in ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")),
    *((name, [("i32", (2, 9)), ("i32", (2, 9))], [("bool", (2, 9))], None) for name in ("EQUAL", "NOT_EQUAL")),
    *((name, [("bool", (2, 9)), ("bool", (2, 9))], [("bool", (2, 9))], None) for name in ("LOGICAL_AND", "LOGICAL_OR")),
    ("LOGICAL_NOT", [("bool", (2, 9))], [("bool", (2, 9))], None),
    ("POW", [(2, 9), np.float32([2])], [(2, 9)], None),
    ("ADD_N", [(2, 9), (2, 9), (2, 9)], [(2, 9)], None),
    ("GELU", [(2, 9)], [(2, 9)], ("GeluOptions", {"approximate": False})),
    ("GELU", [(2, 9)], [(2, 9)], ("GeluOptions", {"approximate": True})),
    ("LEAKY_RELU", [(2, 9)], [(2, 9)], ("LeakyReluOptions", {"alpha": 0.3})),
    ("PRELU", [(1, 4, 4, 3), np.float32([[[0.1, 0.2, 0.3]]])], [(1, 4, 4, 3)], None),
    ("SOFTMAX", [(3, 9)], [(3, 9)], ("SoftmaxOptions", {"beta": 0.7})),
    ("CAST", [(2, 9)], [("i32", (2, 9))], None),
    ("SELECT_V2", [("bool", (2, 9)), (2, 9), (1, 9)], [(2, 9)], None),
    ("SELECT", [("bool", (2, 9)), (2, 9), (2, 9)], [(2, 9)], None),
    ("L2_POOL_2D", [(1, 6, 6, 2)], [(1, 3, 3, 2)], ("Pool2DOptions", {"padding": 1, "stride_h": 2, "stride_w": 2, "filter_height": 2,
                                                                    "filter_width": 2})),
    ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], [(2, 3, 5)], ("BatchMatMulOptions", {})),
    ("BATCH_MATMUL", [(2, 4, 3), (2, 5, 4)], [(2, 3, 5)], ("BatchMatMulOptions", {"adj_x": True, "adj_y": True})),
    ("FULLY_CONNECTED", [(2, 3, 4), RNG.normal(size=(5, 4)).astype(np.float32), None], [(2, 3, 5)],
     ("FullyConnectedOptions", {"keep_num_dims": True})),
    *(("TRANSPOSE_CONV", [ints(1, n, n, 2), RNG.normal(size=(2, 3, 3, 4)).astype(np.float32), (1, 4, 4, 4)], [(1, n, n, 2)],
       ("TransposeConvOptions", {"padding": padding, "stride_h": stride, "stride_w": stride}))
      for n, stride, padding in ((8, 2, 0), (9, 2, 1), (4, 1, 0), (6, 1, 1))),
    *((name, [(2, 3, 4, 5), ints(1, -1)], [(2, 4)], ("ReducerOptions", {"keep_dims": False}))
      for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")),
    ("MEAN", [(2, 3, 4, 5), ints(1, 2)], [(2, 1, 1, 5)], ("ReducerOptions", {"keep_dims": True})),
    *((name, [("bool", (2, 3, 4)), ints(2)], [("bool", (2, 3))], ("ReducerOptions", {})) for name in ("REDUCE_ANY", "REDUCE_ALL")),
    *((name, [(2, 7), ints(1)], [("i64", (2,))], (f"{name[:3].title()}{name[4:].title()}Options", {"output_type": 4}))
      for name in ("ARG_MAX", "ARG_MIN")),
    ("CUMSUM", [(2, 7), ints(1)], [(2, 7)], ("CumsumOptions", {"exclusive": True, "reverse": True})),
    ("L2_NORMALIZATION", [(2, 7)], [(2, 7)], ("L2NormOptions", {})),
    ("RESHAPE", [(2, 6), ints(3, -1)], [(3, 4)], ("ReshapeOptions", {"new_shape": (3, -1)})),
    ("SQUEEZE", [(1, 2, 1, 3)], [(1, 2, 3)], ("SqueezeOptions", {"squeeze_dims": (2,)})),
    ("EXPAND_DIMS", [(2, 3), ints(-1)], [(2, 3, 1)], None),
    ("TRANSPOSE", [(2, 3, 4), ints(2, 0, 1)], [(4, 2, 3)], None),
    ("PAD", [(2, 3), np.int32([[1, 2], [0, 1]])], [(5, 4)], None),
    ("PADV2", [(2, 3), np.int32([[1, 2], [0, 1]]), np.float32(7)], [(5, 4)], None),
    ("MIRROR_PAD", [(3, 4), np.int32([[1, 2], [3, 1]])], [(6, 8)], ("MirrorPadOptions", {"mode": 0})),
    ("MIRROR_PAD", [(3, 4), np.int32([[1, 2], [4, 1]])], [(6, 9)], ("MirrorPadOptions", {"mode": 1})),
    ("TILE", [(2, 3), ints(2, 3)], [(4, 9)], None),
    ("BROADCAST_TO", [(2, 1), ints(3, 2, 4)], [(3, 2, 4)], None),
    ("DEPTH_TO_SPACE", [(1, 2, 3, 8)], [(1, 4, 6, 2)], ("DepthToSpaceOptions", {"block_size": 2})),
    ("SPACE_TO_DEPTH", [(1, 4, 6, 2)], [(1, 2, 3, 8)], ("SpaceToDepthOptions", {"block_size": 2})),
    *((name, [(1, 5, 4, 2), ints(*size)], [(1, *size, 2)], (options, {"align_corners": corners, "half_pixel_centers": centers}))
      for name, options in (("RESIZE_BILINEAR", "ResizeBilinearOptions"), ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"))
      for size in ((9, 7), (3, 2)) for corners, centers in ((False, False), (True, False), (False, True))),
    ("CONCATENATION", [(2, 3), (2, 1)], [(2, 4)], ("ConcatenationOptions", {"axis": -1})),
    ("PACK", [(2, 3), (2, 3)], [(2, 2, 3)], ("PackOptions", {"axis": 1, "values_count": 2})),
    ("UNPACK", [(2, 3)], [(2,), (2,), (2,)], ("UnpackOptions", {"axis": 1, "num": 3})),
    ("SPLIT", [np.int32(1), (2, 6)], [(2, 3), (2, 3)], ("SplitOptions", {"num_splits": 2})),
    ("SPLIT_V", [(2, 6), ints(1, -1, 2), np.int32(1)], [(2, 1), (2, 3), (2, 2)], ("SplitVOptions", {"num_splits": 3})),
    ("SLICE", [(4, 5), ints(1, 2), ints(2, -1)], [(2, 3)], None),
    ("STRIDED_SLICE", [(4, 5), ints(3, 0), ints(0, 5), ints(-1, 2)], [(3, 3)], ("StridedSliceOptions", {})),
    ("STRIDED_SLICE", [(4, 5), ints(-1, 1), ints(9, 9), ints(1, 1)], [(4,)], ("StridedSliceOptions", {"shrink_axis_mask": 1, "end_mask": 2})),
    ("GATHER", [(4, 5), np.int32([[3, 0], [1, 1]])], [(4, 2, 2)], ("GatherOptions", {"axis": 1})),
    ("GATHER_ND", [(4, 5), np.int32([[3, 0], [1, 1]])], [(2,)], None),
    ("REVERSE_V2", [(4, 5), ints(1)], [(4, 5)], None),
    ("ZEROS_LIKE", [(4, 5)], [(4, 5)], None),
    ("FILL", [ints(2, 3), np.float32(4)], [(2, 3)], None),
]


def one_operator(make, case):
    build, Made, fixed = make
    name, operands, results, options = case
    tensors = [None if o is None else fixed(o) if isinstance(o, (np.ndarray, np.generic)) and np.ndim(o) == np.asarray(o).ndim
               and not isinstance(o, tuple) else Made(*o) if isinstance(o[0], str) else Made("f32", o) for o in operands]
    made = [Made(*r) if r and isinstance(r[0], str) else Made("f32", r) for r in results]
    return build(name, tensors, made, None if options == "positive" else options)


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_one_operator(case, make, agree):
    options = {"draw": positive} if case[3] == "positive" else {}
    agree(one_operator(make, case), requant="", seeds=2, tolerance=2e-6 if case[0] != "L2_NORMALIZATION" else 1e-5, reference=False, **options)


def test_moves_keep_the_integers_of_one_scale(make, agree):
    build, Made, fixed = make
    x, y = Made("i8", (2, 6), scale=0.1, zero=7), Made("i8", (5, 6), scale=0.1, zero=7)
    graph, _, _ = agree(build("PAD", [x, fixed(np.int32([[1, 2], [0, 0]]))], [y]))
    assert [type(op).__name__ for op in graph.ops if op.operands] == ["Pad"]
    graph, _, _ = agree(build("CONCATENATION", [x, x], [Made("i8", (4, 6), scale=0.1, zero=7)], ("ConcatenationOptions", {"axis": 0})))
    assert [type(op).__name__ for op in graph.ops if op.operands] == ["Concat"]


def test_weights_alone_may_be_quantized(make):
    build, Made, fixed = make
    w = np.arange(-10, 10, dtype=np.int8).reshape(4, 5)
    model = build("FULLY_CONNECTED", [Made("f32", (2, 5)), fixed(w, scale=0.1), None], [Made("f32", (2, 4))], ("FullyConnectedOptions", {}))
    x = RNG.normal(size=(2, 5)).astype(np.float32)
    graph = edgec.load(model)
    found, = edgec.interpret(graph, {graph.inputs[0].name: x}).values()
    np.testing.assert_allclose(found, x @ (w.T * np.float32(0.1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case, message", [
    (("STRIDED_SLICE", [(4, 5), ints(0), ints(1), ints(1)], [(1, 5)], ("StridedSliceOptions", {"ellipsis_mask": 1})), "an ellipsis or a new axis"),
    (("GATHER", [(4, 5), np.int32([[0], [1], [2], [3]])], [(4, 1)], ("GatherOptions", {"axis": 1, "batch_dims": 1})), "batch dimensions"),
    (("ADD", [(4, 5), (4, 5)], [(4, 5)], ("AddOptions", {"fused_activation_function": 4})), "the fused activation tanh"),
    (("MEAN", [(4, 5), ("i32", (1,))], [(4,)], ("ReducerOptions", {})), "is not known when compiling"),
    (("MIRROR_PAD", [(3, 4), np.int32([[3, 0], [0, 0]])], [(6, 4)], ("MirrorPadOptions", {"mode": 0})), "cannot be mirrored by 3 and 0"),
    (("CONV_2D", [(3, 4), (4, 4)], [(6, 4)], ("Conv2DOptions", {})), "rank"),
])
def test_what_cannot_be_said(case, message, make):
    with pytest.raises(CompileError, match=message):
        edgec.load(one_operator(make, case))


def test_every_operator_is_tried(make):
    """What no case here is about has its own test beside this one."""
    elsewhere = {"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "QUANTIZE", "DEQUANTIZE", "SHAPE", "RANK", "RANGE",
                 "BITWISE_XOR"}
    assert {*REAL, *MOVES} == {case[0] for case in CASES} | elsewhere
