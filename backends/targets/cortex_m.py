"""Microcontroller cores: integers alone on M0+ and M3, scalar floats on M4 and M7, vectors (MVE, "Helium") on M55.

Flash is what such a chip has least of, so packing and padding may not grow the weights (`max_flash_growth`).
Each runs on one of Arm's own evaluation boards in qemu, without an operating system.
"""
from edgec.backends.target import Emulator, Instruction, Target, available, row

PACKAGES = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm")


# vmlava sums all its products into one scalar; its three leading constants say signed, not subtracting, not exchanging pairs.
# smlad takes its pairs of i16 as one 32-bit register each. Bytes are widened to such pairs, those at even places and those at odd ones:
# sxtb16 and uxtb16 turn their operand first.
def bytes_row(a: str, b: str) -> Instruction:
    """Four products of bytes (types `i8` or `u8`) as two smlad."""
    pairs = [f"{x}1:i32 = llvm.fshr.i32({x}:i32, {x}:i32, 8); {x}2:i32 = llvm.arm.{t[0].replace('i', 's')}xtb16({x}:i32); "
             f"{x}3:i32 = llvm.arm.{t[0].replace('i', 's')}xtb16({x}1)" for x, t in (("a", a), ("b", b))]
    calls = "e:i32 = llvm.arm.smlad(a2, b2, acc); llvm.arm.smlad(a3, b3, e)"
    return row("smlad", "dsp", "; ".join([*pairs, calls]), f"acc:i32[1] += dot(a:{a}[4], b:{b}[4], group=4)")


INSTRUCTIONS = (
    row("vmlava.s8", "mve", "llvm.arm.mve.vmldava.v16i8(0, 0, 0, acc, a, b)", "acc:i32[1] += dot(a:i8[16], b:i8[16], group=16)"),
    row("vmlava.s16", "mve", "llvm.arm.mve.vmldava.v8i16(0, 0, 0, acc, a, b)", "acc:i32[1] += dot(a:i16[8], b:i16[8], group=8)"),
    row("smlad", "dsp", "llvm.arm.smlad(a:i32, b:i32, acc)", "acc:i32[1] += dot(a:i16[2], b:i16[2], group=2)"),
    bytes_row("i8", "i8"),
    bytes_row("u8", "i8"),
    bytes_row("u8", "u8"),
    row("vcvtn.s32.f32", "mve.fp", "llvm.arm.mve.vcvtn(0, a)", "r:i32[4] = nearest(a:f32[4])"),
    row("vcvtr.s32.f32", "vfp4d16sp", "h:float = llvm.arm.vcvtr.f32(a); bitcast(h)", "r:i32[1] = nearest(a:f32[1])"),
    row("vfma.f32", "mve.fp", "llvm.fma", "r:f32[*] = fma(a:f32[*], b:f32[*], c:f32[*])"),
    row("vfma.f32", "vfp4d16sp", "llvm.fma", "r:f32[1] = fma(a:f32[1], b:f32[1], c:f32[1])"),
    row("vrintn.f32", "mve.fp", "llvm.roundeven", "r:f32[*] = round_half_even(a:f32[*])"),
    row("vrintn.f32", "fp-armv8d16sp", "llvm.roundeven", "r:f32[1] = round_half_even(a:f32[1])"),
    row("vrintm.f32", "mve.fp", "llvm.floor", "r:f32[*] = floor(a:f32[*])"),
    row("vrintm.f32", "fp-armv8d16sp", "llvm.floor", "r:f32[1] = floor(a:f32[1])"),
    row("vrintp.f32", "mve.fp", "llvm.ceil", "r:f32[*] = ceil(a:f32[*])"),
    row("vrintp.f32", "fp-armv8d16sp", "llvm.ceil", "r:f32[1] = ceil(a:f32[1])"),
    row("vrintz.f32", "mve.fp", "llvm.trunc", "r:f32[*] = trunc(a:f32[*])"),
    row("vrintz.f32", "fp-armv8d16sp", "llvm.trunc", "r:f32[1] = trunc(a:f32[1])"),
    row("vsqrt.f32", "vfp4d16sp", "llvm.sqrt", "r:f32[1] = sqrt(a:f32[1])"),
    row("vcvtb", "vfp4d16sp", "fpext", "r:f32[1] = cast(a:f16[1])"),
    row("vcvtb", "vfp4d16sp", "fptrunc", "r:f16[1] = cast(a:f32[1])"),
)


# The names are those of the Run-time ABI for the Arm Architecture, 5.1.
FLOAT_CALLS = tuple((f"__aeabi_{name}", f"float.{operation}") for name, operation in (
    ("fadd", "add"), ("fsub", "subtract"), ("fmul", "multiply"), ("fdiv", "divide"), ("fcmplt", "less"), ("fcmple", "at_most"),
    ("fcmpgt", "more"), ("fcmpge", "at_least"), ("fcmpeq", "equal"), ("fcmpun", "unordered"), ("i2f", "from_signed"),
    ("ui2f", "from_unsigned"), ("f2iz", "to_signed"), ("f2uiz", "to_unsigned")))
WORD_CALLS = tuple((f"__aeabi_{name}", f"word.{operation}") for name, operation in (
    ("lmul", "multiply"), ("llsl", "shift_left"), ("llsr", "shift_right"), ("lasr", "shift_signed"), ("uidiv", "divide"),
    ("idiv", "divide_signed"), ("uidivmod", "divide"), ("idivmod", "divide_signed")))


def core(name: str, architecture: str, features: tuple[str, ...], board: str, float_abi: str = "hard", **facts) -> Target:
    """A core by LLVM's name for it (gcc's is the same), emulated on `board`."""
    flags = (f"-mcpu={name}", "-mthumb", f"-mfloat-abi={float_abi}")
    triple = f"{architecture}-unknown-none-eabi{'hf' if float_abi == 'hard' else ''}"
    return Target(name=name, triple=triple, cpu=name, features=features, float_abi=float_abi, pointer_bits=32,
                  relocation="static", max_flash_growth=1.0, hand_over=0, scalar_operand="register",
                  instructions=available(INSTRUCTIONS, features),
                  emulator=Emulator("arm-none-eabi-gcc", flags, "qemu-system-arm", board=board, packages=PACKAGES), **facts)


# Tightly coupled memories and flash accelerators stand for an L1 cache on cores that have none.
# The core of the board for M3 runs what an M0+ runs, too.
TARGETS = (
    core("cortex-m0plus", "thumbv6m", (), "mps2-an385", float_abi="soft", calls=FLOAT_CALLS + WORD_CALLS,
         vector_bits=0, registers=6, general_registers=8, fma=False, fma_latency=1, fma_per_cycle=1, l1_bytes=16 << 10),
    core("cortex-m3", "thumbv7m", (), "mps2-an385", float_abi="soft", calls=FLOAT_CALLS,
         vector_bits=0, registers=9, fma=False, fma_latency=1, fma_per_cycle=1, l1_bytes=16 << 10),
    core("cortex-m4", "thumbv7em", ("dsp", "vfp4d16sp"), "mps2-an386",
         vector_bits=0, registers=32, fma=True, fma_latency=3, fma_per_cycle=1, l1_bytes=16 << 10),
    core("cortex-m7", "thumbv7em", ("dsp", "vfp4d16sp", "fp-armv8d16sp"), "mps2-an500",
         vector_bits=0, registers=32, fma=True, fma_latency=5, fma_per_cycle=1, l1_bytes=16 << 10),
    core("cortex-m55", "thumbv8.1m.main", ("dsp", "vfp4d16sp", "fp-armv8d16sp", "fullfp16", "mve", "mve.fp", "lob"), "mps3-an547",
         vector_bits=128, registers=8, general_registers=10, fma=True, fma_latency=4, fma_per_cycle=1, masks=True, l1_bytes=32 << 10),
)
