"""Loading an object into this process: results, rebinding of inputs, symbolic dimensions, and clear refusals."""
import numpy as np
import pytest

from edgec.backends.native import COPIED_BYTES, Loaded, runs_here
from edgec.backends.target import all_targets
from edgec.errors import Internal, TypeMismatch

NATIVE = next(target for target in all_targets() if target.seen)
HERE = [target for target in all_targets() if runs_here(target)]


@pytest.mark.parametrize("target", HERE, ids=lambda target: target.name)
def test_runs(target, models, samples):
    built = models.classifier(target)
    with Loaded(built.object, built.interface) as loaded:
        for sample in samples:
            np.testing.assert_array_equal(loaded.run(sample)["y"], models.reference(sample["the x"], sample["k"]))


def test_only_targets_of_this_architecture_run_here():
    assert NATIVE in HERE
    assert not [target for target in HERE if target.triple.split("-")[0] != NATIVE.triple.split("-")[0]]


def test_results_are_the_callers_own(models, samples):
    built = models.classifier(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        first = loaded.run(samples[0])["y"]
        kept = first.copy()
        loaded.run(samples[1])
        np.testing.assert_array_equal(first, kept)


def test_an_input_changed_in_place_is_read_again(models, samples):
    built = models.classifier(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        sample = {name: array.copy() for name, array in samples[0].items()}
        loaded.run(sample)
        sample["the x"] += 1
        np.testing.assert_array_equal(loaded.run(sample)["y"], models.reference(sample["the x"], sample["k"]))


def test_strided_and_reordered_inputs(models, samples):
    built = models.classifier(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        for sample in samples:
            strided = {"k": np.asfortranarray(sample["k"]), "the x": np.repeat(sample["the x"], 2)[::2]}
            np.testing.assert_array_equal(loaded.run(strided)["y"], models.reference(sample["the x"], sample["k"]))


def test_symbolic_dimension(models):
    built = models.doubling(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        for rows in (1, 5, 2, 2):
            x = np.arange(rows * 3, dtype=np.int16).reshape(rows, 3)
            np.testing.assert_array_equal(loaded.run({"x": x})["y"], 2 * x)


def test_large_inputs_are_passed_by_address_and_may_change(models):
    built = models.streaming(NATIVE, elements=COPIED_BYTES)
    with Loaded(built.object, built.interface) as loaded:
        for value in (3, 4):
            x = np.full(built.interface.inputs[0].shape, value, np.int16)
            assert x.nbytes > COPIED_BYTES
            np.testing.assert_array_equal(loaded.run({"x": x})["y"], 2 * x)
            x += 1
            np.testing.assert_array_equal(loaded.run({"x": x})["y"], 2 * x)
            np.testing.assert_array_equal(loaded.run({"x": np.repeat(x, 2)[::2]})["y"], 2 * x)


def test_call_repeats_the_last_run(models, samples):
    built = models.classifier(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        loaded.set_inputs(samples[0])
        assert loaded.call() == 0


@pytest.mark.parametrize("arrays, message", [
    ({}, "expected the inputs x"),
    ({"x": np.zeros((1, 3), np.int16), "y": np.zeros(1)}, "given: x, y"),
    ({"x": np.zeros((1, 3), np.float32)}, "element type float32, expected int16"),
    ({"x": np.zeros(3, np.int16)}, "1 dimensions, expected 2"),
    ({"x": np.zeros((2, 4), np.int16)}, r"shape \[2, 4\], expected \[2, 3\]"),
    ({"x": np.zeros((6, 3), np.int16)}, "dimension n is 6, expected 1 to 5"),
])
def test_wrong_inputs_are_refused(arrays, message, models):
    built = models.doubling(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        for _ in range(2):
            with pytest.raises(TypeMismatch, match=message):
                loaded.run(arrays)
            loaded.run({"x": np.zeros((1, 3), np.int16)})


def test_a_status_is_reported(models):
    built = models.doubling(NATIVE)
    with Loaded(built.object, built.interface) as loaded:
        loaded._context[0] = 8
        with pytest.raises(Internal, match="twice_run returned -1: the context is too small"):
            loaded.run({"x": np.zeros((1, 3), np.int16)})


def test_an_object_without_the_function_is_refused(models):
    part = models.compile_part(NATIVE, "define void @other() nounwind {\n ret void\n}")
    with pytest.raises(Internal, match="does not define twice_run"):
        Loaded(part, models.doubling(NATIVE).interface)
