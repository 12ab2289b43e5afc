"""Files that nobody should have to trust: whatever is wrong with them ends in one CompileError, never in anything else."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import edgec
from edgec.cli import main
from edgec.errors import CompileError, ModelError, Unsupported


@pytest.fixture(scope="module")
def model(make):
    """A convolution with its weights: options, constants, scales and names are all there."""
    build, Made, fixed = make
    w = fixed(np.arange(-36, 36, dtype=np.int8).reshape(4, 3, 3, 2), scale=np.full(4, 0.01, np.float32))
    b = fixed(np.arange(4, dtype=np.int32), scale=np.full(4, 0.001, np.float32))
    return build("CONV_2D", [Made("i8", (1, 6, 6, 2), scale=0.1), w, b], [Made("i8", (1, 6, 6, 4), scale=0.2)],
                 ("Conv2DOptions", {"padding": 0, "stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}))


def load_or_refuse(data, requant=""):
    try:
        edgec.load(data, requant=requant)
    except CompileError as error:
        assert str(error)


def test_the_model_is_fine(model, agree):
    agree(model)


@pytest.mark.parametrize("head", [b"TFL3", b"\0\0\0\0TFL", b"\x1c\0\0\0TFL2" + bytes(40), b"\xff\xff\xff\xffTFL3" + bytes(8), bytes(8)])
def test_no_model_at_all(head, tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(head)
    with pytest.raises(ModelError, match="model.tflite: (this is not a TFLite model|the file is broken|the file is of schema)"):
        edgec.load(file)


def test_every_beginning_of_a_file(model):
    for size in range(8, len(model), 3):
        load_or_refuse(model[:size])


@given(at=st.integers(8, 1 << 14), value=st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)), more=st.integers(0, 1 << 14))
@settings(deadline=None, max_examples=300)
def test_changed_bytes(at, value, more, model):
    data = bytearray(model)
    data[at % len(data)] = data[more % len(data)] = value
    if data[4:8] == b"TFL3":
        load_or_refuse(bytes(data), "tflite")


@given(at=st.integers(0, 1 << 12), word=st.sampled_from((0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x40000000, 0x0FFFFFFF)))
@settings(deadline=None, max_examples=200)
def test_offsets_and_counts_out_of_range(at, word, model):
    data, place = bytearray(model), 8 + 4 * at % (len(model) - 12)
    data[place:place + 4] = word.to_bytes(4, "little")
    load_or_refuse(bytes(data))


def refused(error, message, data, **options):
    with pytest.raises(error, match=message):
        edgec.load(data, **options)


def test_shapes_that_are_too_large(make):
    build, Made, _ = make
    refused(ModelError, "none that edgec can hold", build("RELU", [Made("f32", (1 << 20, 1 << 20))], [Made("f32", (1 << 20, 1 << 20))]))
    refused(ModelError, "none that edgec can hold", build("RELU", [Made("f32", (-3, 4))], [Made("f32", (-3, 4))]))


def test_data_of_another_size(make):
    build, Made, fixed = make
    wrong = Made("f32", (5,), data=np.zeros(4, np.float32))
    refused(ModelError, "16 bytes of data for a tensor f32\\[5\\] of 20 bytes", build("ADD", [Made("f32", (5,)), wrong], [Made("f32", (5,))]))


def test_scales_that_do_not_fit(make):
    build, Made, _ = make
    x = Made("i8", (2, 3), scale=np.ones(5, np.float32), axis=1)
    refused(ModelError, "5 scales do not fit axis 1", build("RELU", [x], [Made("i8", (2, 3), scale=1.0)]))
    refused(ModelError, "a scale is no positive number", build("RELU", [Made("i8", (2, 3), scale=np.nan)], [Made("i8", (2, 3), scale=1.0)]))


def test_operators_that_are_not_known(make):
    build, Made, _ = make
    x, y = Made("f32", (2, 3)), Made("f32", (2, 3))
    refused(Unsupported, "the operator UNIQUE is not supported\n.*docs/tflite.md", build("UNIQUE", [x], [y]))
    refused(Unsupported, "the operator custom Spectrogram is not supported", build("CUSTOM", [x], [y], custom="Spectrogram"))
    x, y = Made("i8", (2, 3), scale=0.1), Made("i8", (2, 3), scale=0.1)
    refused(Unsupported, "LOG_SOFTMAX has no form in TFLite's integer arithmetic", build("LOG_SOFTMAX", [x], [y]), requant="tflite")
    edgec.load(build("LOG_SOFTMAX", [x], [y]))


def test_results_that_are_not_what_the_file_says(make):
    build, Made, _ = make
    refused(ModelError, r"says that the result is f32\[2, 4\], the operator computes f32\[2,3\]", build("RELU", [Made("f32", (2, 3))], [Made("f32", (2, 4))]))
    refused(ModelError, "says that the result is i32", build("RELU", [Made("f32", (2, 3))], [Made("i32", (2, 3))]))


def test_operands_that_are_missing(make):
    build, Made, _ = make
    refused(ModelError, "operand 1 is left out", build("ADD", [Made("f32", (2, 3)), None], [Made("f32", (2, 3))]))
    refused(ModelError, "operand 1 is left out", build("ADD", [Made("f32", (2, 3))], [Made("f32", (2, 3))]))


def test_requant_is_for_tflite_alone(tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert main(["show", str(tmp_path / "model.onnx"), "--requant=tflite"]) == 1
    assert "--requant tflite is for .tflite models" in capsys.readouterr().err
    refused(ModelError, "there is no requantisation 'gemmlowp'", b"\0\0\0\0TFL3", requant="gemmlowp")


def test_the_package_that_reads_the_schema_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite", None)
    refused(Unsupported, 'reading .tflite files needs the package tflite\n  hint: pip install "edgec\\[tflite\\]"', model)


def test_open_sizes_are_given(make):
    build, Made, _ = make
    model = build("RELU", [Made("f32", (1, 3), signature=(-1, 3))], [Made("f32", (1, 3), signature=(-1, 3))])
    assert edgec.load(model).inputs[0].shape == (1, 3)
    graph = edgec.load(model, shapes={"t0": ("1..8", 3)})
    assert str(graph.inputs[0].type) == "f32[t0_0,3]"
    refused(ModelError, "in the model it is 3", model, shapes={"t0": (1, 4)})
    refused(ModelError, "names 'x', which is not an input", model, shapes={"x": (1, 4)})


def test_a_command_ends_with_one_message(model, tmp_path, capsys):
    (tmp_path / "cut.tflite").write_bytes(model[:200])
    assert main(["compile", str(tmp_path / "cut.tflite"), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "out").exists()


def test_every_problem_is_told_at_once(make):
    """Two results that are not what the file says, one operator that nobody knows, and a result that is fine in between."""
    from dataclasses import replace

    from edgec.errors import each_problem
    from edgec.tflite.file import read_model
    from edgec.tflite.reader import _Reader
    build, Made, _ = make
    found = read_model(build("RELU", [Made("f32", (1, 4))], [Made("f32", (1, 5))]), "m.tflite")
    first, = found.operators
    x, wrong = found.inputs[0], first.outputs[0]
    tensors = [replace(wrong, number=10 + n, name=f"t{n}", shape=shape) for n, shape in enumerate(((1, 5), (1, 4), (1, 4), (7, 4)))]
    operators = (replace(first, inputs=(x,), outputs=(tensors[0],), index=0),
                 replace(first, name="UNHEARD_OF", inputs=(tensors[0],), outputs=(tensors[1],), index=1),
                 replace(first, inputs=(tensors[1],), outputs=(tensors[2],), index=2),
                 replace(first, inputs=(tensors[2],), outputs=(tensors[3],), index=3))
    with pytest.raises(CompileError) as caught:
        _Reader(replace(found, operators=operators, outputs=(tensors[3],)), "m.tflite", "").graph({}, {}, {})
    problems = list(each_problem(caught.value))
    assert sorted(problem.loc.index for problem in problems) == [0, 1, 3]
    assert "UNHEARD_OF is not supported" in str(caught.value) and "f32[7, 4]" in str(caught.value)
