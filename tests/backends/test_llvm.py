"""Code generation: every operation on every type gives an object that needs nothing else, and the right numbers, on every target."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.emulate import emulate
from edgec.backends.entry import entry_text
from edgec.backends.inspect_object import undefined_symbols, writable_sections
from edgec.backends.interface import Interface, Port
from edgec.backends.join import join
from edgec.backends.join_modules import join_modules
from edgec.backends.llvm import module_text
from edgec.backends.native import Loaded
from edgec.backends.soft_routines import soft_routines
from edgec.backends.steps import CallStep, Place
from edgec.backends.target import all_targets, find
from edgec.compiler import compile
from edgec.errors import Internal, Unsupported
from edgec.expr import BINARY, COMPARE, UNARY, binary, cast, compare, const, inside, maximum, minimum, mul_add, select, unary, var
from edgec.graph import Graph, graph_input
from edgec.loops import Block, For, If, Let, Loops, Param, Register, Store, get, horizontal, iota, lane, load, splat, vector
from edgec.loops_interpreter import run_loops
from edgec.loops_verifier import verify_loops
from edgec.ops.transcendental import Exp
from edgec.testing.arrows import Function
from edgec.types import DTYPES, SMALL, TensorType, bf16, bool_, f16, f32, f64, i8, i32, i64, index, string

SIZE = 48
TYPES = [t for t in DTYPES.values() if t not in (index, string, *SMALL)]  # small elements and text are bytes in machine code
LOGICAL = ("and", "or", "xor")
SHIFTS = ("shl", "shr")
# How many units in the last place a polynomial may be off, with some room for targets that round products.
UNITS = {"pow": 4, "tan": 4, "erf": 8, "div": 0, "mod": 0, "sqrt": 1, "add": 0, "sub": 0, "mul": 0, "neg": 0, "abs": 0, "min": 0, "max": 0,
         "floor": 0, "ceil": 0, "round": 0, "trunc": 0, "isnan": 0, "isinf": 0}


def operations(dtype):
    """{name: f(x, y, z)} for a type, casts to every other type included."""
    found = {f"cast_{other}": lambda x, y, z, to=other: cast(x, to) for other in TYPES if other is not dtype}
    found |= {op: lambda x, y, z, op=op: compare(op, x, y) for op in (COMPARE if dtype is not bool_ else ("eq", "ne"))}
    found["select"] = lambda x, y, z: select(compare("eq", x, y), y, z)
    if dtype in (f32, f64):
        found |= {op: lambda x, y, z, op=op: unary(op, x) for op in UNARY if op != "not"}
        found |= {op: lambda x, y, z, op=op: binary(op, x, y) for op in BINARY if op not in (*LOGICAL, *SHIFTS)}
        found["mul_add"] = mul_add
    elif dtype is bool_:
        found |= {op: lambda x, y, z, op=op: binary(op, x, y) for op in LOGICAL}
        found["not"] = lambda x, y, z: unary("not", x)
    elif dtype.is_integer:
        others = [t for t in TYPES if t.is_integer and t is not dtype]
        found |= {f"saturate_{other}": lambda x, y, z, to=other: cast(x, to, True) for other in others}
        found |= {op: lambda x, y, z, op=op: unary(op, x) for op in ("neg", "abs", "not")}
        found |= {op: lambda x, y, z, op=op: binary(op, x, y) for op in BINARY if op not in (*SHIFTS, "pow")}
        found |= {op: lambda x, y, z, op=op: binary(op, x, y & const(7, dtype)) for op in SHIFTS}
        found["mul_add"] = mul_add
    else:  # 16-bit floats compute in f32; only what moves and chooses is done on them directly
        found |= {op: lambda x, y, z, op=op: binary(op, x, y) for op in ("min", "max")}
    return found


def kernel(dtype, lanes: int, wanted=lambda name: True) -> Loops:
    """One function that stores every operation on x, y and z into a parameter of its own."""
    inputs = [Param(name, dtype, SIZE) for name in "xyz"]
    i = var("i", 0, SIZE // lanes - 1)
    operands = [load(p, i * lanes, lanes) for p in inputs]
    values = {name: f(*operands) for name, f in operations(dtype).items() if wanted(name)}
    outputs = {name: Param(name, value.dtype, SIZE, writable=True) for name, value in values.items()}
    stores = tuple(Store(outputs[name], i * lanes, value) for name, value in values.items())
    loops = Loops(f"all_{dtype}", (*outputs.values(), *inputs), (), (For(i, const(0, index), const(SIZE // lanes, index), 1, stores),))
    verify_loops(loops)
    return loops


def has_doubles(target) -> bool:
    """Whether the core computes in f64: its description has rows for it."""
    return any("f64" in row.meaning for row in target.instructions)


def on(target):
    """Which operations a core is asked for: all, less those on f64 where it has none."""
    return lambda name: has_doubles(target) or "f64" not in name


PAIRS = [(target, dtype) for target in all_targets() for dtype in TYPES if dtype is not f64 or has_doubles(target)]


@pytest.mark.parametrize("target, dtype", PAIRS, ids=lambda part: getattr(part, "name", None))
def test_objects_need_nothing_else(target, dtype):
    for lanes in sorted({1, target.lanes(32)}):
        compiled = compile_module(module_text(kernel(dtype, lanes, on(target)), target, "kernel"), target, "0")
        routines = soft_routines([compiled.object], target, lambda texts: {n: compile_module(t, target, "0") for n, t in texts.items()})
        joined = join([compiled.object, *(one.object for one in routines)], [], {"kernel"}) if routines else compiled.object
        assert {*undefined_symbols(compiled.object)} <= {*dict(target.calls)} and undefined_symbols(joined) == []
        assert writable_sections(joined) == []


def test_an_object_that_needs_a_library_is_refused():
    """A core without any f64 instruction."""
    x = graph_input("x", TensorType(f64, (4,)))
    with pytest.raises(Unsupported, match="LLVM would call .*__aeabi_dmul"):
        compile(Graph((x,), (Exp(x).output,), ("y",)), "cortex-m4")


# ------------------------------------------------------------------------------------------------------------ numbers

def numbers(dtype) -> list[np.ndarray]:
    """x, y, z: the ends of the type, small numbers, random ones; y is never 0, nothing is subnormal."""
    generator = np.random.default_rng(dtype.bits)
    if dtype is bool_:
        return list(generator.integers(0, 2, (3, SIZE)).astype(bool))
    if dtype.is_integer:
        found = generator.integers(dtype.low, dtype.high, (3, SIZE), dtype=dtype.numpy, endpoint=True)
        found[:, 16:32] = generator.integers(-3 if dtype.low else 1, 4, (3, 16)).astype(dtype.numpy)
        found[0, :4] = [dtype.low, dtype.high, dtype.low, 0]
        found[1, :4] = [dtype.high, dtype.high, dtype.numpy.type(-1 if dtype.low else 1), 1]
        found[1][found[1] == 0] = 5
        return list(found)
    found = (generator.standard_normal((3, SIZE)) * np.exp2(generator.integers(-6, 6, (3, SIZE)))).astype(dtype.numpy)
    found[0, :8] = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 3.5]
    found[1, 16:24] = found[0, 16:24]
    return list(found)


SPECIAL = [np.inf, -np.inf, np.nan, 1e30, -1e30, 3e9, -3e9, 1e19]


def expected(loops: Loops, arrays) -> list[np.ndarray]:
    outputs = [np.zeros(SIZE, p.dtype.numpy) for p in loops.params if p.writable]
    run_loops(loops, [*outputs, *arrays])
    return outputs


def compare_all(loops: Loops, found, wanted) -> None:
    """Bit for bit, polynomials within a few units in the last place."""
    for param, a, b in zip(loops.params, found, wanted):
        units = UNITS.get(param.name, 2 if param.name in UNARY else 1 if param.name == "mul_add" else 0)
        if units and param.dtype.is_float:
            wide = [np.nan_to_num(v.astype(np.float64), nan=0.0) for v in (a, b)]
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            with np.errstate(all="ignore"):
                close = np.abs(wide[0] - wide[1]) <= (units + 1) * np.spacing(np.abs(b).astype(param.dtype.numpy)).astype(np.float64)
            if param.name == "mul_add":  # fused or not: off by a rounding of the product
                close |= np.abs(wide[0] - wide[1]) <= np.finfo(param.dtype.numpy).eps * 4096
            assert (close | (wide[0] == wide[1])).all(), param.name
        else:
            exact = [v.astype(np.float64) if param.dtype.is_float else v for v in (a, b)]  # in which every NaN is one
            np.testing.assert_array_equal(*exact, err_msg=f"{param.name} of {loops.name}")


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_numbers_of_this_computer(dtype):
    target = find("native")
    for lanes in sorted({1, 4, target.lanes(32)}):
        loops, arrays = kernel(dtype, lanes), numbers(dtype)
        found = run(loops, target, arrays)
        compare_all(loops, found, expected(loops, arrays))


@pytest.mark.parametrize("dtype", [f16, bf16, f32, f64], ids=str)
def test_special_numbers_of_this_computer(dtype):
    """Infinities, NaN and numbers beyond the integers: conversions saturate, comparisons with NaN are false, nothing traps."""
    target = find("native")
    arrays = numbers(dtype)
    with np.errstate(over="ignore"):
        arrays[0][:8], arrays[1][:16] = np.array(SPECIAL).astype(dtype.numpy), np.array([*SPECIAL[1:], 1.0, *SPECIAL]).astype(dtype.numpy)
    kept = ("cast_", *COMPARE, "select", "is", "floor", "ceil", "round", "trunc", "neg", "abs", "add", "sub", "mul", "div")
    for lanes in sorted({1, target.lanes(32)}):
        loops = kernel(dtype, lanes, lambda name: name.startswith(kept))
        compare_all(loops, run(loops, target, arrays), expected(loops, arrays))


def run(loops: Loops, target, arrays, optimize: str = "3") -> list[np.ndarray]:
    """The outputs of a function on this computer."""
    import ctypes
    outputs = [np.zeros(p.size, p.dtype.numpy) for p in loops.params if p.writable]
    code = compile_module(module_text(loops, target, "kernel"), target, optimize).object
    flat = [*outputs, *arrays]
    with Function(code, "kernel", [ctypes.c_void_p] * len(flat)) as function:
        function(*(a.ctypes.data for a in flat))
    return outputs


def model(kernels: list[Loops], target) -> SimpleNamespace:
    """An artifact whose inputs and outputs are the parameters of some functions, one call each."""
    inputs, outputs, steps, texts = [], [], [], []
    for number, loops in enumerate(kernels):
        places = []
        for p in loops.params:
            ports = outputs if p.writable else inputs
            places.append(Place("output" if p.writable else "input", len(ports)))
            ports.append(Port(f"{loops.name}_{p.name}", f"{loops.name}_{p.name}", p.dtype.name, (SIZE,)))
        steps.append(CallStep(f"kernel{number}", tuple(places)))
        texts.append(module_text(loops, target, f"kernel{number}"))
    interface = Interface("net", tuple(inputs), tuple(outputs))
    parts = [compile_module(text, target, "1") for text in (entry_text(interface, steps, target.pointer_bits), *texts)]
    return SimpleNamespace(interface=interface, object=join_modules(parts, [], {interface.run_symbol}, target), target=target)


@pytest.mark.parametrize("name", ["cortex-a72", "cortex-a7", "cortex-m4", "cortex-m55", "x86-64-v2", "wasm32"])
def test_numbers_of_other_processors(name, require_tools):
    """All operations of all types in one run of the emulator."""
    target = find(name)
    require_tools(target)
    types = [t for t in TYPES if t is not f64 or has_doubles(target)]
    kernels = [kernel(t, target.lanes(32), on(target)) for t in types]
    given = {loops.name: numbers(t) for loops, t in zip(kernels, types)}
    sample = {f"{name}_{operand}": array for name, arrays in given.items() for operand, array in zip("xyz", arrays)}
    found, = emulate(model(kernels, target), [sample]).outputs
    for loops in kernels:
        outputs = [found[f"{loops.name}_{p.name}"] for p in loops.params if p.writable]
        compare_all(loops, outputs, expected(loops, given[loops.name]))


# ---------------------------------------------------------------------------------------------------------- statements

X, Y = Param("x", f32, 64), Param("y", f32, 64, writable=True)
I = var("i", 0, 7)


def check(*body, dtype=f32, target=None):
    """Statements over x and y: machine code against the interpreter."""
    target = target or find("native")
    x, y = (Param(n, dtype, 64, n == "y") for n in "xy") if dtype is not f32 else (X, Y)
    loops = Loops("some", (y, x), (), body)
    verify_loops(loops)
    arrays = [np.arange(1, 65).astype(dtype.numpy)]
    wanted = [np.zeros(64, dtype.numpy)]
    run_loops(loops, [*wanted, *arrays])
    for optimize in ("0", "3"):
        np.testing.assert_array_equal(run(loops, target, arrays, optimize)[0], wanted[0])
    return wanted[0]


def loop(*body, stop=8, step=1, start=0):
    return For(I, const(start, index), const(stop, index), step, body)


def test_a_loop_that_never_runs_and_one_with_a_step():
    found = check(loop(Store(Y, I, const(1.0, f32)), start=5, stop=5), loop(Store(Y, I + 8, load(X, I)), step=3))
    assert list(np.flatnonzero(found)) == [8, 11, 14]


def test_registers_are_carried_through_loops_and_branches():
    total, count = Register("total", f32, 4), Register("count", f32)
    found = check(Let(total, splat(const(0.0, f32), 4)), Let(count, const(0.0, f32)),
                  loop(Let(total, get(total) + load(X, I * 4, 4)),
                       If(I < 3, (Let(count, get(count) + 1.0),), (Let(count, get(count) * 2.0),))),
                  Store(Y, const(0, index), get(total)), Store(Y, const(8, index), get(count)),
                  Store(Y, const(9, index), horizontal("add", get(total))))
    assert found[8] == 96.0 and found[9] == 528.0


def test_a_register_assigned_in_one_branch_keeps_its_value_in_the_other():
    r = Register("r", f32)
    check(loop(Let(r, load(X, I)), If(I < 4, (Let(r, get(r) * 10.0), Store(Y, I, get(r)))), Store(Y, I + 8, get(r))))


def test_memory_read_again_after_a_store_is_new():
    """A value loaded before may not stand for one loaded after."""
    at = const(0, index)
    found = check(Store(Y, at, load(X, at)), Store(Y, at + 1, load(Y, at) + 1.0), Store(Y, at, load(Y, at + 1) * 3.0),
                  Store(Y, at + 2, load(Y, at)))
    assert list(found[:3]) == [6.0, 2.0, 6.0]


def test_a_value_inside_a_branch_is_not_used_outside():
    value = load(X, I * 2) * 3.0
    check(loop(If(I < 4, (Store(Y, I, value + 1.0),)), Store(Y, I + 16, value)))


def test_guarded_values_are_not_evaluated_outside():
    """The load would leave the parameter."""
    far = load(X, I * 64)
    found = check(loop(Store(Y, I, inside([(I, const(1, index))], far, -1.0))))
    assert list(found[:3]) == [1.0, -1.0, -1.0]


def test_guards_inside_guards():
    inner = inside([(I - 2, const(3, index))], load(X, I - 2), 5.0)
    check(loop(Store(Y, I, inside([(I - 1, const(6, index))], inner * 2.0, 7.0) + inner)))


@pytest.mark.parametrize("lanes, active", [(4, 3), (8, 5), (16, 1), (16, 15), (2, 1)])
@pytest.mark.parametrize("dtype", [f32, i8, i64], ids=str)
def test_masked_loads_and_stores_touch_only_active_lanes(lanes, active, dtype):
    x, y = Param("x", dtype, 64), Param("y", dtype, 64, writable=True)
    loops = Loops("masked", (y, x), (), (Store(y, const(64 - active, index), load(x, const(64 - active, index), lanes, active), active),))
    verify_loops(loops)
    data = np.arange(1, 65).astype(dtype.numpy)
    found, = run(loops, find("native"), [data])
    np.testing.assert_array_equal(found, np.where(np.arange(64) >= 64 - active, data, 0))


@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("op", ["add", "mul", "min", "max"])
@pytest.mark.parametrize("dtype", [f32, i32, i64], ids=str)
def test_lanes_are_merged(lanes, op, dtype):
    """Whole numbers: the order does not matter. (LLVM 22 gets shuffles within a full vector wrong, so halves are merged.)"""
    x, y = Param("x", dtype, 64), Param("y", dtype, 64, writable=True)
    value = horizontal(op, load(x, const(1, index), lanes) if op != "mul" else minimum(load(x, const(1, index), lanes), 2))
    found, = run(Loops("merged", (y, x), (), (Store(y, const(0, index), value),)), find("native"), [np.arange(64).astype(dtype.numpy)])
    data = np.arange(1, 1 + lanes).astype(dtype.numpy)
    assert found[0] == {"add": data.sum, "mul": lambda: np.minimum(data, 2).prod(dtype=dtype.numpy), "min": data.min, "max": data.max}[op]()


@pytest.mark.parametrize("rows", [2, 3])
def test_products_are_summed_over_lanes(rows):
    """Several integer dot products side by side, as a matrix times a vector is tiled."""
    x, w, y = Param("x", i32, 64), Param("w", i32, 64), Param("y", i32, 64, writable=True)
    sixteen = lambda param, at: load(param, const(at, index), 16)
    products = [mul_add(sixteen(x, 16 * r), sixteen(w, 0), splat(const(0, i32), 16)) for r in range(rows)]
    body = tuple(Store(y, const(r, index), horizontal("add", p)) for r, p in enumerate(products))
    data, weights = np.random.default_rng(2).integers(-4, 5, (2, 64)).astype(np.int32)
    found, = run(Loops("dots", (y, x, w), (), body), find("native"), [data, weights])
    np.testing.assert_array_equal(found[:rows], data.reshape(4, 16)[:rows] @ weights[:16])


def test_vectors_are_put_together_and_taken_apart():
    parts = vector([load(X, I * 3 + k) for k in (3, 1, 2, 0)])
    check(loop(Store(Y, I * 4, parts + splat(load(X, I), 4)), Store(Y, I + 40, lane(parts, 2))))


def test_indices_become_numbers():
    wide = I * 2 + iota(4)
    check(loop(Store(Y, I * 8, cast(wide // 3, f32)), Store(Y, I * 8 + 4, cast(maximum(minimum(wide - 5, 6), -2), f32))))


def test_floor_division_of_negative_indices():
    found = check(loop(Store(Y, I, cast((I - 4) // 3, f32)), Store(Y, I + 8, cast((I - 4) % 3, f32))))
    assert list(found[:8]) == [-2, -1, -1, -1, 0, 0, 0, 1] and list(found[8:16]) == [2, 0, 1, 2, 0, 1, 2, 0]


def test_blocks_are_transparent():
    check(Block((Store(Y, const(0, index), load(X, const(3, index))), Block((Store(Y, const(1, index), load(X, const(4, index))),)))))


def test_symbols_are_arguments():
    n = var("n", 1, 8)
    loops = Loops("open", (Y, X), (n,), (For(I, const(0, index), n, 1, (Store(Y, I, load(X, I)),)),))
    text = module_text(loops, find("cortex-m4"), "kernel")
    assert "i32 %n0" in text and "i64 %n0" in module_text(loops, find("aarch64"), "kernel")


def test_broken_text_is_an_internal_error_with_the_words_of_llvm():
    with pytest.raises(Internal, match="refused a module") as caught:
        compile_module("define void @k() { ret i32 0 }", find("native"))
    assert any("ret" in note for note in caught.value.notes)


def test_an_artifact_of_kernels_runs_here():
    target = find("native")
    kernels = [kernel(f32, 4), kernel(i32, 1)]
    artifact = model(kernels, target)
    arrays = {f"{loops.name}_{n}": a for loops, t in zip(kernels, (f32, i32)) for n, a in zip("xyz", numbers(t))}
    with Loaded(artifact.object, artifact.interface) as loaded:
        found = loaded.run(arrays)
    for loops, t in zip(kernels, (f32, i32)):
        compare_all(loops, [found[f"{loops.name}_{p.name}"] for p in loops.params if p.writable], expected(loops, numbers(t)))
