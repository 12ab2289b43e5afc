"""The C header: compiles without a warning as C99 and C++11, and lays the context out as `layout` says, under every compiler there is."""
import shutil
import subprocess

import pytest

from edgec.backends.c_names import KEYWORDS, identifiers, prefix
from edgec.backends.header import header
from edgec.backends.interface import C_TYPES, Interface, Port, layout

COMPILERS = [("gcc", 64), ("aarch64-linux-gnu-gcc", 64), ("arm-linux-gnueabihf-gcc", 32), ("arm-none-eabi-gcc", 32)]
INTERFACES = {
    "plain": Interface("net", (Port("image", "image", "f32", (1, 3, 8, 8)),), (Port("class", "class_", "i64", ()),), arena_bytes=1 << 10),
    "symbolic": Interface("seq", (Port("a/b:0 */ \n", "a_b_0", "f16", ("n", 3)), Port("mask", "mask", "bool", ("2 * n", "m"))),
                          (Port("y", "y", "bf16", ("EDGEC_MIN(n, m)", 4)), Port("z", "z", "u8", ())),
                          (("n", 1, 8), ("m", 0, 100), ("o", 1, 2)), arena_bytes=3 << 10, slot_bytes=512),
    "no ports": Interface("empty", (), ()),
    "levels": Interface("many", (Port("x", "x", "f32", (2,)),), (), levels=("A_1", "B_2")),
    "dims only": Interface("ramp", (), (Port("y", "y", "i32", ("n",)),), (("n", 0, 9),)),
    "every type": Interface("types", tuple(Port(name, "x_" + name, name, (2,), (("SCALE", 0.5), ("ZERO_POINT", -3))) for name in C_TYPES),
                            (), arena_bytes=5 << 30, flash_bytes=1 << 33),
}


@pytest.fixture(params=INTERFACES.values(), ids=INTERFACES.keys())
def interface(request) -> Interface:
    return request.param


def require(compiler: str):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} not installed")


def compiles(tmp_path, compiler: str, *flags: str, code: str, suffix: str = "c") -> None:
    (tmp_path / f"test.{suffix}").write_text(code)
    done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"test.{suffix}"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("compiler, standard, suffix", [
    ("gcc", "c99", "c"), ("gcc", "c11", "c"), ("g++", "c++11", "cc"), ("g++", "c++20", "cc"),
    ("arm-none-eabi-gcc", "c99", "c"), ("arm-none-eabi-g++", "c++11", "cc")])
def test_compiles_without_a_warning(interface, compiler, standard, suffix, tmp_path):
    require(compiler)
    (tmp_path / "net.h").write_text(header(interface))
    use = f"int32_t use(const {interface.prefix}_inputs *in, const {interface.prefix}_outputs *out, void *arena);\n" \
          f"int32_t use(const {interface.prefix}_inputs *in, const {interface.prefix}_outputs *out, void *arena) " \
          f"{{ return {interface.prefix}(in, out, arena); }}\n"
    compiles(tmp_path, compiler, f"-std={standard}", code='#include "net.h"\n#include "net.h"\n' + use, suffix=suffix)


@pytest.mark.parametrize("compiler, bits", COMPILERS)
def test_members_lie_where_layout_says(interface, compiler, bits, tmp_path):
    require(compiler)
    (tmp_path / "net.h").write_text(header(interface))
    where = layout(interface, bits)
    offsets = {f"in.{port.c_name}": offset for port, offset in zip(interface.inputs, where.inputs)}
    offsets |= {f"in.{name}": offset for (name, _, _), offset in zip(interface.dims, where.dims)}
    offsets |= {f"out.{port.c_name}": offset for port, offset in zip(interface.outputs, where.outputs)}
    offsets |= {name: getattr(where, name) for name in ("arena", "weights", "state", "executor", "isa")} | {"size": 0}
    asserts = [f'_Static_assert(offsetof({interface.prefix}_context, {member}) == {offset}, "{member}");'
               for member, offset in offsets.items()]
    size = f'_Static_assert(sizeof({interface.prefix}_context) == {where.size}, "size");'
    compiles(tmp_path, compiler, "-std=c11", code="\n".join(['#include <stddef.h>', '#include "net.h"', *asserts, size, ""]))


def test_constants(tmp_path):
    require("gcc")
    (tmp_path / "seq.h").write_text(header(INTERFACES["symbolic"]))
    checks = ["SEQ_ARENA_BYTES(1) == 3072", "SEQ_ARENA_BYTES(3) == 4096", "SEQ_ARENA_ALIGN == 64", "SEQ_IN_A_B_0_SIZE == 24", "SEQ_IN_MASK_SIZE == 1600",
              "SEQ_OUT_Y_SIZE == 32", "SEQ_OUT_Z_RANK == 0",
              "SEQ_OUT_Y_RANK == 2", "SEQ_N_MAX == 8", "SEQ_M_MIN == 0", "sizeof(SEQ_IN_MASK_DTYPE) == 5"]
    shape = "int f(int n, int m, int o) { int s[] = SEQ_IN_MASK_SHAPE(n, m, o); (void)o; return s[0] + s[1]; }"
    code = '#include "seq.h"\n' + "".join(f'_Static_assert({check}, "");\n' for check in checks) + "int f(int, int, int);\n" + shape + "\n"
    compiles(tmp_path, "gcc", "-std=c11", code=code)


def test_names_are_unique_identifiers_and_not_keywords():
    names = ["x", "X", "x_2", "input:0", "input/0", "", "7", "größe", "_x", "__linux__", "class", "register", "int8_t", "INT8_MAX",
             "linux", "a__b"]
    result = identifiers(names, taken=["n"])
    assert len({name.lower() for name in result}) == len(names)
    assert all(name.isidentifier() and name.isascii() and "__" not in name and name[0] != "_" and name not in KEYWORDS for name in result)
    assert result[:4] == ("x", "X_2", "x_2_2", "input_0"), result
    assert identifiers(["n", "m"], taken=["N"]) == ("n_2", "m")


@pytest.mark.parametrize("name, expected", [("mobilenet-v2.1", "mobilenet_v2_1"), ("main", "main_model"), ("int", "int_model"),
                                            ("3d", "t3d")])
def test_prefixes(name, expected):
    assert prefix(name) == expected


def test_every_name_compiles_as_a_member(tmp_path):
    require("g++")
    members = identifiers(sorted(KEYWORDS) + ["linux", "unix", "NULL", "EOF", "errno", "int8_t", "INT8_MAX", "SIZE_MAX", "__x", "_Bool"])
    ports = tuple(Port(name, name, "f32", ()) for name in members)
    (tmp_path / "net.h").write_text(header(Interface("net", ports, ports)))
    code = '#include <errno.h>\n#include <stdio.h>\n#include "net.h"\nextern int nothing;\n'
    for compiler, standard, suffix in (("gcc", "gnu17", "c"), ("g++", "gnu++20", "cc")):
        compiles(tmp_path, compiler, f"-std={standard}", code=code, suffix=suffix)
