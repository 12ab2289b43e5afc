"""64-bit Arm with NEON: the common denominator, and cores by name.

The multiply-add takes one lane of a vector register as its scalar (FMLA by element), so four scalars cost one register.
Latency is the accumulator-forwarding path, from Arm's software optimisation guides of the cores.
"""
from edgec.backends.byte_pairs import pairs_of_eight
from edgec.backends.target import Emulator, Target, available, row

PACKAGES = ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user")
V8 = ("neon", "fp-armv8")
V8_2 = V8 + ("crc", "lse", "fullfp16", "dotprod")
V8_6 = V8_2 + ("bf16", "i8mm", "fp16fml")

# Bytes without dot products: sums of two products have room in 16 bits if the factors on one side are above -128.
PAIRS = ("a1:<8 x i8> = low(a); a2:<8 x i8> = high(a); b1:<8 x i8> = low(b); b2:<8 x i8> = high(b); "
         "p:<8 x i16> = llvm.aarch64.neon.smull.v8i16(a1, b1); q:<8 x i16> = llvm.aarch64.neon.smull.v8i16(a2, b2); "
         "r:<8 x i16> = llvm.aarch64.neon.addp.v8i16(p, q); s:<4 x i32> = llvm.aarch64.neon.saddlp.v4i32.v8i16(r); "
         "t:<4 x i32> = add(acc, s); held(t)")

ADD_UP = "s_{half}:<4 x i32> = llvm.aarch64.neon.saddlp.v4i32.v8i16(r_{half}); u_{half}:<4 x i32> = add(acc_{half}, s_{half}); " \
         "t_{half}:<4 x i32> = held(u_{half})"

# Eight products of f16 in f32: both halves of the operands, which stand in one register each.
FMLAL = ("c1:<4 x float> = low(acc); c2:<4 x float> = high(acc); p:<4 x float> = llvm.aarch64.neon.fmlal.v4f32.v8f16(c1, a, b); "
         "q:<4 x float> = llvm.aarch64.neon.fmlal2.v4f32.v8f16(c2, a, b); join(p, q)")

INSTRUCTIONS = (
    row("smmla", "i8mm", "llvm.aarch64.neon.smmla.v4i32.v16i8", "acc:i32[2,2] += matmul(a:i8[2,8], b:i8[2,8])"),
    row("ummla", "i8mm", "llvm.aarch64.neon.ummla.v4i32.v16i8", "acc:i32[2,2] += matmul(a:u8[2,8], b:u8[2,8])"),
    row("usmmla", "i8mm", "llvm.aarch64.neon.usmmla.v4i32.v16i8", "acc:i32[2,2] += matmul(a:u8[2,8], b:i8[2,8])"),
    row("bfmmla", "bf16", "llvm.aarch64.neon.bfmmla", "acc:f32[2,2] += matmul(a:bf16[2,4], b:bf16[2,4])"),
    row("usdot", "i8mm", "llvm.aarch64.neon.usdot.v4i32.v16i8", "acc:i32[4] += dot(a:u8[16], b:i8[16], group=4)"),
    row("sdot", "dotprod", "llvm.aarch64.neon.sdot.v4i32.v16i8", "acc:i32[4] += dot(a:i8[16], b:i8[16], group=4)"),
    row("udot", "dotprod", "llvm.aarch64.neon.udot.v4i32.v16i8", "acc:i32[4] += dot(a:u8[16], b:u8[16], group=4)"),
    row("sadalp", "neon", pairs_of_eight("llvm.aarch64.neon.smull.v8i16", ADD_UP), "acc:i32[8] += dot(a:i8[32] > -128, b:i8[32], group=4)"),
    row("sadalp", "neon", PAIRS, "acc:i32[4] += dot(a:i8[16] > -128, b:i8[16], group=4)"),
    row("smull", "neon", "llvm.aarch64.neon.smull.v8i16", "r:i16[8] = dot(a:i8[8], b:i8[8], group=1)"),
    row("bfdot", "bf16", "llvm.aarch64.neon.bfdot.v4f32.v8bf16", "acc:f32[4] += dot(a:bf16[8], b:bf16[8], group=2)"),
    row("fmlal", "fp16fml", "llvm.aarch64.neon.fmlal.v4f32.v8f16(acc, a:<8 x half>, b:<8 x half>)",
        "acc:f32[4] += dot(a:f16[4], b:f16[4], group=1)"),
    row("fmlal", "fp16fml", FMLAL, "acc:f32[8] += dot(a:f16[8], b:f16[8], group=1)"),
    row("fcvtns", "neon", "llvm.aarch64.neon.fcvtns", "r:i32[4] = nearest(a:f32[4])"),
    row("fcvtns", "neon", "llvm.aarch64.neon.fcvtns", "r:i32[1] = nearest(a:f32[1])"),
    row("sqxtn", "neon", "llvm.aarch64.neon.sqxtn.v4i16", "r:i16[4] = saturate(a:i32[4])"),
    row("sqxtn", "neon", "llvm.aarch64.neon.sqxtn.v8i8", "r:i8[8] = saturate(a:i16[8])"),
    row("sqxtun", "neon", "llvm.aarch64.neon.sqxtun.v8i8", "r:u8[8] = saturate(a:i16[8])"),
    row("fmla", "neon", "llvm.fma", "r:f32[*] = fma(a:f32[*], b:f32[*], c:f32[*])"),
    row("fmla", "neon", "llvm.fma", "r:f64[*] = fma(a:f64[*], b:f64[*], c:f64[*])"),
    row("fmla", "fullfp16", "llvm.fma", "r:f16[*] = fma(a:f16[*], b:f16[*], c:f16[*])"),
    row("frintn", "neon", "llvm.roundeven", "r:f32[*] = round_half_even(a:f32[*])"),
    row("frintn", "neon", "llvm.roundeven", "r:f64[*] = round_half_even(a:f64[*])"),
    row("frintm", "neon", "llvm.floor", "r:f32[*] = floor(a:f32[*])"),
    row("frintm", "neon", "llvm.floor", "r:f64[*] = floor(a:f64[*])"),
    row("frintp", "neon", "llvm.ceil", "r:f32[*] = ceil(a:f32[*])"),
    row("frintp", "neon", "llvm.ceil", "r:f64[*] = ceil(a:f64[*])"),
    row("frintz", "neon", "llvm.trunc", "r:f32[*] = trunc(a:f32[*])"),
    row("frintz", "neon", "llvm.trunc", "r:f64[*] = trunc(a:f64[*])"),
    row("fsqrt", "neon", "llvm.sqrt", "r:f32[*] = sqrt(a:f32[*])"),
    row("fsqrt", "neon", "llvm.sqrt", "r:f64[*] = sqrt(a:f64[*])"),
    row("fcvtl", "neon", "fpext", "r:f32[*] = cast(a:f16[*])"),
    row("fcvtn", "neon", "fptrunc", "r:f16[*] = cast(a:f32[*])"),
    row("bfcvtn", "bf16", "fptrunc", "r:bf16[*] = cast(a:f32[*])"),
)


def core(name: str, cpu: str, features: tuple[str, ...], emulated_cpu: str, **facts) -> Target:
    """A core; `emulated_cpu` is the qemu model that has its features."""
    emulator = Emulator("aarch64-linux-gnu-gcc", ("-static",), "qemu-aarch64", ("-cpu", emulated_cpu), packages=PACKAGES)
    return Target(name=name, triple="aarch64-unknown-linux-gnu", cpu=cpu, features=features, vector_bits=128, registers=32, fma=True,
                  scalar_operand="lane", joined_vectors=4, loads_four="llvm.aarch64.neon.ld1x4",
                  instructions=available(INSTRUCTIONS, features), emulator=emulator, **facts)


TARGETS = (
    core("aarch64", "generic", V8, "cortex-a72", fma_latency=4, fma_per_cycle=2, l1_bytes=32 << 10, l2_bytes=512 << 10),
    core("cortex-a53", "cortex-a53", V8 + ("crc",), "cortex-a53", in_order=True, dealt_vectors=4, register_name="v{}",  # ld4
         channel_blocks=(4,), fma_latency=4, fma_per_cycle=1, l1_bytes=32 << 10, l2_bytes=512 << 10),
    core("cortex-a55", "cortex-a55", V8_2, "max,sve=off", fma_latency=4, fma_per_cycle=1, l1_bytes=32 << 10, l2_bytes=128 << 10,
         l3_bytes=1 << 20),
    core("cortex-a72", "cortex-a72", V8 + ("crc",), "cortex-a72", fma_latency=3, fma_per_cycle=2, l1_bytes=32 << 10, l2_bytes=1 << 20),
    core("cortex-a76", "cortex-a76", V8_2, "cortex-a76", fma_latency=4, fma_per_cycle=2, l1_bytes=64 << 10, l2_bytes=256 << 10,
         l3_bytes=2 << 20),
    core("neoverse-v2", "neoverse-v2", V8_6 + ("sve", "sve2"), "max,sve128=on", fma_latency=4, fma_per_cycle=4, l1_bytes=64 << 10,
         l2_bytes=2 << 20, l3_bytes=32 << 20),
    core("cortex-a710", "cortex-a710", V8_6, "max", fma_latency=4, fma_per_cycle=2, l1_bytes=64 << 10, l2_bytes=512 << 10,
         l3_bytes=8 << 20),
)
