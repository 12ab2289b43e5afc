"""64-bit Arm with SVE vectors longer than NEON's, for cores whose length is known: vscale is fixed, so code is for that length alone.

LLVM writes the ordinary operations of fixed vectors as predicated SVE instructions. A multiply-add by element takes its lane within each
128 bits there, so scalars are broadcast (ld1rw). Cores with SVE vectors of 128 bits are described as NEON ones.
"""
from edgec.backends.target import Emulator, Target, available, row
from edgec.backends.targets.aarch64 import PACKAGES, V8_2

FEATURES = V8_2 + ("bf16", "i8mm", "fp16fml", "sve")

# Of the two forms of a multiply-add, LLVM takes the one whose overwritten operand is free.
INSTRUCTIONS = (
    row("fmla/fmad", "sve", "llvm.fma", "r:f32[*] = fma(a:f32[*], b:f32[*], c:f32[*])"),
    row("fmla/fmad", "sve", "llvm.fma", "r:f64[*] = fma(a:f64[*], b:f64[*], c:f64[*])"),
    row("fmla/fmad", "sve fullfp16", "llvm.fma", "r:f16[*] = fma(a:f16[*], b:f16[*], c:f16[*])"),
    row("frintn", "sve", "llvm.roundeven", "r:f32[*] = round_half_even(a:f32[*])"),
    row("frintn", "sve", "llvm.roundeven", "r:f64[*] = round_half_even(a:f64[*])"),
    row("frintm", "sve", "llvm.floor", "r:f32[*] = floor(a:f32[*])"),
    row("frintm", "sve", "llvm.floor", "r:f64[*] = floor(a:f64[*])"),
    row("frintp", "sve", "llvm.ceil", "r:f32[*] = ceil(a:f32[*])"),
    row("frintp", "sve", "llvm.ceil", "r:f64[*] = ceil(a:f64[*])"),
    row("frintz", "sve", "llvm.trunc", "r:f32[*] = trunc(a:f32[*])"),
    row("frintz", "sve", "llvm.trunc", "r:f64[*] = trunc(a:f64[*])"),
    row("fsqrt", "sve", "llvm.sqrt", "r:f32[*] = sqrt(a:f32[*])"),
    row("fsqrt", "sve", "llvm.sqrt", "r:f64[*] = sqrt(a:f64[*])"),
    row("fcvt", "sve", "fpext", "r:f32[*] = cast(a:f16[*])"),
    row("fcvt", "sve", "fptrunc", "r:f16[*] = cast(a:f32[*])"),
)

TARGETS = (
    Target(name="neoverse-v1", triple="aarch64-unknown-linux-gnu", cpu="neoverse-v1", features=FEATURES, vector_bits=256, vector_scale=2,
           vector_frame=r"addvl\s+sp, sp, #-(?P<vectors>\d+)", registers=32, fma=True, fma_latency=4, fma_per_cycle=2,
           scalar_operand="register", l1_bytes=64 << 10, l2_bytes=1 << 20, l3_bytes=32 << 20,
           instructions=available(INSTRUCTIONS, FEATURES),
           emulator=Emulator("aarch64-linux-gnu-gcc", ("-static",), "qemu-aarch64", ("-cpu", "max,sve256=on"), packages=PACKAGES)),
)
