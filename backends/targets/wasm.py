"""WebAssembly with 128-bit vectors (the SIMD proposal, in every browser since 2023): 32-bit addresses, objects of LLVM's own format.

An engine turns the code into that of the machine it runs on, so the facts are those of a small x86-64 or 64-bit Arm: enough registers for a
tile, a scalar spread by the load itself (`v128.load32_splat`), multiply and add apart. What a store out of range or a conversion does is
defined by the machine, not by us: conversions saturate (`trunc_sat`), and nothing traps.
"""
from edgec.backends.target import Target, available, row

FEATURES = ("simd128", "nontrapping-fptoint", "sign-ext", "mutable-globals")

INSTRUCTIONS = (
    row("i32x4.dot_i16x8_s", "simd128", "llvm.wasm.dot", "r:i32[4] = dot(a:i16[8], b:i16[8], group=2)"),
    row("f32x4.nearest", "simd128", "llvm.roundeven", "r:f32[4] = round_half_even(a:f32[4])"),
    row("f64x2.nearest", "simd128", "llvm.roundeven", "r:f64[2] = round_half_even(a:f64[2])"),
    row("f32.nearest", "", "llvm.roundeven", "r:f32[1] = round_half_even(a:f32[1])"),
    row("f64.nearest", "", "llvm.roundeven", "r:f64[1] = round_half_even(a:f64[1])"),
    row("f32x4.floor", "simd128", "llvm.floor", "r:f32[4] = floor(a:f32[4])"),
    row("f64x2.floor", "simd128", "llvm.floor", "r:f64[2] = floor(a:f64[2])"),
    row("f32.floor", "", "llvm.floor", "r:f32[1] = floor(a:f32[1])"),
    row("f64.floor", "", "llvm.floor", "r:f64[1] = floor(a:f64[1])"),
    row("f32x4.ceil", "simd128", "llvm.ceil", "r:f32[4] = ceil(a:f32[4])"),
    row("f64x2.ceil", "simd128", "llvm.ceil", "r:f64[2] = ceil(a:f64[2])"),
    row("f32.ceil", "", "llvm.ceil", "r:f32[1] = ceil(a:f32[1])"),
    row("f64.ceil", "", "llvm.ceil", "r:f64[1] = ceil(a:f64[1])"),
    row("f32x4.trunc", "simd128", "llvm.trunc", "r:f32[4] = trunc(a:f32[4])"),
    row("f64x2.trunc", "simd128", "llvm.trunc", "r:f64[2] = trunc(a:f64[2])"),
    row("f32.trunc", "", "llvm.trunc", "r:f32[1] = trunc(a:f32[1])"),
    row("f64.trunc", "", "llvm.trunc", "r:f64[1] = trunc(a:f64[1])"),
    row("f32x4.sqrt", "simd128", "llvm.sqrt", "r:f32[4] = sqrt(a:f32[4])"),
    row("f64x2.sqrt", "simd128", "llvm.sqrt", "r:f64[2] = sqrt(a:f64[2])"),
    row("f32.sqrt", "", "llvm.sqrt", "r:f32[1] = sqrt(a:f32[1])"),
    row("f64.sqrt", "", "llvm.sqrt", "r:f64[1] = sqrt(a:f64[1])"),
)

TARGETS = (
    Target(name="wasm32", triple="wasm32-unknown-unknown", cpu="generic", features=FEATURES, pointer_bits=32, relocation="static",
           code_model="default", object_format="wasm", half_types=False, vector_bits=128, registers=16, scalar_operand="memory",
           fma=False, fma_latency=4, fma_per_cycle=2, l1_bytes=32 << 10, l2_bytes=256 << 10, hand_over=0,
           instructions=available(INSTRUCTIONS, FEATURES)),
)
