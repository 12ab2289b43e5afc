"""Emulation: symbolic dimensions, memory beyond the small default, instruction counts, and clear words when something is missing."""
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgec.backends import emulate as emulate_module
from edgec.backends.emulate import Program, emulate
from edgec.backends.interface import Interface, Port, layout
from edgec.backends.join import DataSection, join
from edgec.backends.target import all_targets
from edgec.errors import Internal, TypeMismatch, Unsupported

BOARDS = [target for target in all_targets() if target.emulator and target.emulator.board]
EMULATED = [target for target in all_targets() if target.emulator and target.emulator.qemu]


def test_symbolic_dimension(target, models, require_tools):
    require_tools(target)
    samples = [{"x": np.arange(rows * 3, dtype=np.int16).reshape(rows, 3)} for rows in (2, 5, 1)]
    for sample, output in zip(samples, emulate(models.doubling(target), samples).outputs):
        np.testing.assert_array_equal(output["y"], 2 * sample["x"])


@pytest.mark.parametrize("target", EMULATED, ids=lambda target: target.name)
def test_counted_instructions_are_those_of_the_model(target, models, require_tools):
    require_tools(target)
    if not shutil.which("gcc"):
        pytest.skip("gcc not installed")
    counts = []
    for rows in (1, 2, 5):
        sample = {"x": np.zeros((rows, 3), np.int16)}
        with Program(models.doubling(target).object, models.doubling(target).interface, target, [sample]) as program:
            counts.append(program.count_instructions([sample]))
            assert program.count_instructions([sample, sample]) == counts[-1]
    per_row = counts[1] - counts[0]
    assert counts[2] - counts[1] == 3 * per_row
    assert 3 * 3 <= per_row <= 3 * 12


# Copies every 4,096th byte of a large array of weights through a large arena.
FAR = '''
@far_weights = external hidden constant [{size} x i8]
define i32 @far_run(ptr %c) nounwind {{
  %px = getelementptr i8, ptr %c, i32 {L.inputs[0]}
  %x = load ptr, ptr %px
  %first = load i8, ptr %x
  %py = getelementptr i8, ptr %c, i32 {L.outputs[0]}
  %y = load ptr, ptr %py
  %pa = getelementptr i8, ptr %c, i32 {L.arena}
  %arena = load ptr, ptr %pa
  br label %loop
loop:
  %i = phi i32 [ 0, %0 ], [ %next, %loop ]
  %at = mul i32 %i, 4096
  %from = getelementptr i8, ptr @far_weights, i32 %at
  %v = load i8, ptr %from
  %s = add i8 %v, %first
  %via = getelementptr i8, ptr %arena, i32 %at
  store i8 %s, ptr %via
  %r = load volatile i8, ptr %via
  %to = getelementptr i8, ptr %y, i32 %i
  store i8 %r, ptr %to
  %next = add i32 %i, 1
  %more = icmp ult i32 %next, {count}
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
'''


def far(target, models, size: int):
    """A model with `size` bytes of weights and as large an arena."""
    interface = Interface("far", (Port("x", "x", "u8", (1,)),), (Port("y", "y", "u8", (size // 4096,)),), arena_bytes=size)
    part = models.compile_part(target, FAR.format(size=size, count=size // 4096, L=layout(interface, target.pointer_bits)))
    weights = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    obj = join([part], [DataSection("far_weights", weights, 64)], {"far_run"})
    return interface, obj, weights


@pytest.mark.parametrize("target", BOARDS, ids=lambda target: target.name)
@pytest.mark.parametrize("megabytes", [1, 6])
def test_what_does_not_fit_into_near_memory_goes_to_the_far_one(target, megabytes, models, require_tools):
    require_tools(target)
    interface, obj, weights = far(target, models, megabytes << 20)
    with Program(obj, interface, target, [{"x": np.uint8([3])}]) as program:
        output, = program.run([{"x": np.uint8([3])}])
    np.testing.assert_array_equal(output["y"], weights[::4096] + np.uint8(3))


@pytest.mark.parametrize("target", BOARDS, ids=lambda target: target.name)
def test_a_model_too_large_for_the_board_is_refused_by_the_linker(target, models, require_tools):
    require_tools(target)
    interface, obj, _ = far(target, models, 1 << 20)
    with pytest.raises(Internal, match="linking the model failed"):
        Program(obj, replace(interface, arena_bytes=300 << 20), target, [{"x": np.uint8([3])}])


@pytest.mark.parametrize("target", BOARDS, ids=lambda target: target.name)
def test_a_fault_is_reported_with_its_place(target, models, require_tools):
    require_tools(target)
    interface = Interface("bad", (Port("x", "x", "u8", (1,)),), ())
    part = models.compile_part(target, "define i32 @bad_run(ptr %c) nounwind {\n %p = inttoptr i32 3758096384 to ptr\n"
                                       " call void %p()\n ret i32 0\n}")
    with Program(join([part], [], {"bad_run"}), interface, target, [{"x": np.uint8([0])}]) as program:
        with pytest.raises(Internal, match="fault at pc=[0-9a-f]{8}, cfsr=[0-9a-f]{8}"):
            program.run([{"x": np.uint8([0])}])


def test_a_status_is_reported(target, models, require_tools):
    require_tools(target)
    interface = models.doubling(target).interface
    part = models.compile_part(target, "define i32 @twice_run(ptr %c) nounwind {\n ret i32 -3\n}")
    with Program(join([part], [], {"twice_run"}), interface, target, []) as program:
        with pytest.raises(Internal, match="twice_run returned -3 for sample 0"):
            program.run([{"x": np.zeros((1, 3), np.int16)}])


@pytest.mark.parametrize("target", EMULATED[:1], ids=lambda target: target.name)
def test_missing_tools_are_named_with_their_packages(target, models, monkeypatch):
    monkeypatch.setattr(emulate_module.shutil, "which", lambda tool: None)
    with pytest.raises(Unsupported) as error:
        emulate(models.doubling(target), [])
    assert target.emulator.gcc in str(error.value) and target.emulator.qemu in str(error.value)
    assert all(package in str(error.value) for package in target.emulator.packages)


def test_wrong_inputs_are_refused_before_anything_is_built(target, models, require_tools):
    require_tools(target)
    with pytest.raises(TypeMismatch, match="expected the inputs x"):
        emulate(models.doubling(target), [{"y": np.zeros(1)}])
