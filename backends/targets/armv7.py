"""32-bit Arm application cores with NEON and VFPv4.

LLVM never vectorises float loops here by itself (NEON flushes subnormals), so the vector code of the loops is what counts.
VFMA has no form with one lane of a register as its scalar (VMLA, which rounds twice, has): a scalar is loaded into all lanes first.
LLVM finds no VMLAL where one factor is a scalar that was widened, hence the row for VMULL, whose sums it does make VMLAL.
Rounding to an integral float has no instruction before Armv8; it is written out in portable operations.
"""
from edgec.backends.byte_pairs import pairs_of_eight
from edgec.backends.target import Emulator, Target, available, row

FEATURES = ("neon", "vfp4", "d32", "thumb2", "hwdiv", "hwdiv-arm")
CORTEX_A7_FLAGS = ("-mcpu=cortex-a7", "-mfpu=neon-vfpv4", "-mfloat-abi=hard", "-static")
PACKAGES = ("gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross", "qemu-user")

# Sums of two products of bytes have room in 16 bits if the factors on one side are above -128.
PAIRS = ("a1:<8 x i8> = low(a); a2:<8 x i8> = high(a); b1:<8 x i8> = low(b); b2:<8 x i8> = high(b); "
         "p:<8 x i16> = llvm.arm.neon.vmulls.v8i16(a1, b1); q:<8 x i16> = llvm.arm.neon.vmulls.v8i16(a2, b2); "
         "p1:<4 x i16> = low(p); p2:<4 x i16> = high(p); q1:<4 x i16> = low(q); q2:<4 x i16> = high(q); "
         "r:<4 x i16> = llvm.arm.neon.vpadd.v4i16(p1, p2); s:<4 x i16> = llvm.arm.neon.vpadd.v4i16(q1, q2); "
         "t:<8 x i16> = join(r, s); llvm.arm.neon.vpadals.v4i32.v8i16(acc, t)")

ADD_UP = "t_{half}:<4 x i32> = llvm.arm.neon.vpadals.v4i32.v8i16(acc_{half}, r_{half})"

# A vector of f64 does not exist: that row is for scalars.
INSTRUCTIONS = (
    row("vpadal.s16", "neon", pairs_of_eight("llvm.arm.neon.vmulls.v8i16", ADD_UP),
        "acc:i32[8] += dot(a:i8[32] > -128, b:i8[32], group=4)"),
    row("vpadal.s16", "neon", PAIRS, "acc:i32[4] += dot(a:i8[16] > -128, b:i8[16], group=4)"),
    row("vmull.s16", "neon", "llvm.arm.neon.vmulls.v4i32", "r:i32[4] = dot(a:i16[4], b:i16[4], group=1)"),
    row("vcvtr.s32.f32", "vfp4", "h:float = llvm.arm.vcvtr.f32(a); bitcast(h)", "r:i32[1] = nearest(a:f32[1])"),
    row("vqmovn.s32", "neon", "llvm.arm.neon.vqmovns.v4i16", "r:i16[4] = saturate(a:i32[4])"),
    row("vqmovn.s16", "neon", "llvm.arm.neon.vqmovns.v8i8", "r:i8[8] = saturate(a:i16[8])"),
    row("vqmovun.s16", "neon", "llvm.arm.neon.vqmovnsu.v8i8", "r:u8[8] = saturate(a:i16[8])"),
    row("vfma", "vfp4", "llvm.fma", "r:f32[*] = fma(a:f32[*], b:f32[*], c:f32[*])"),
    row("vfma", "vfp4", "llvm.fma", "r:f64[1] = fma(a:f64[1], b:f64[1], c:f64[1])"),
    row("vsqrt", "vfp4", "llvm.sqrt", "r:f32[1] = sqrt(a:f32[1])"),
    row("vsqrt", "vfp4", "llvm.sqrt", "r:f64[1] = sqrt(a:f64[1])"),
    row("vcvtb", "vfp4", "fpext", "r:f32[1] = cast(a:f16[1])"),
    row("vcvtb", "vfp4", "fptrunc", "r:f16[1] = cast(a:f32[1])"),
)

TARGETS = (
    Target(name="cortex-a7", triple="armv7-unknown-linux-gnueabihf", cpu="cortex-a7", features=FEATURES, float_abi="hard",
           vector_bits=128, registers=16, fma=True, fma_latency=4, fma_per_cycle=1, scalar_operand="register", late_terms=True,
           joined_vectors=4, l1_bytes=32 << 10, l2_bytes=512 << 10, pointer_bits=32, instructions=available(INSTRUCTIONS, FEATURES),
           emulator=Emulator("arm-linux-gnueabihf-gcc", CORTEX_A7_FLAGS, "qemu-arm", ("-cpu", "cortex-a7"), packages=PACKAGES)),
)
