"""64-bit RISC-V: scalar (rv64gc), and with vectors (RVV 1.0) of a known length, for which vscale, VLEN / 64, is fixed.

The scalar of a vector multiply-add comes from a float register (vfmacc.vf) and costs no vector register, as from memory. Rounding has no
instruction of its own; it is written out in portable operations.
"""
from edgec.backends.target import Emulator, Target, available, row

GC = ("m", "a", "f", "d", "c")
V = GC + ("v",)
PACKAGES = ("gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross", "qemu-user")

# Of the two forms of a multiply-add, LLVM takes the one whose overwritten operand is free.
INSTRUCTIONS = (
    row("vfmacc/vfmadd", "v", "llvm.fma", "r:f32[*] = fma(a:f32[*], b:f32[*], c:f32[*])"),
    row("vfmacc/vfmadd", "v", "llvm.fma", "r:f64[*] = fma(a:f64[*], b:f64[*], c:f64[*])"),
    row("vfsqrt.v", "v", "llvm.sqrt", "r:f32[*] = sqrt(a:f32[*])"),
    row("vfsqrt.v", "v", "llvm.sqrt", "r:f64[*] = sqrt(a:f64[*])"),
    row("fmadd.s", "f", "llvm.fma", "r:f32[1] = fma(a:f32[1], b:f32[1], c:f32[1])"),
    row("fmadd.d", "d", "llvm.fma", "r:f64[1] = fma(a:f64[1], b:f64[1], c:f64[1])"),
    row("fsqrt.s", "f", "llvm.sqrt", "r:f32[1] = sqrt(a:f32[1])"),
    row("fsqrt.d", "d", "llvm.sqrt", "r:f64[1] = sqrt(a:f64[1])"),
)

# The second of the two numbers that a function with vectors on its stack lowers the pointer by; LLVM says the first.
FRAME = r"addi\s+sp, sp, -\d+\n[\s\S]*?addi\s+sp, sp, -(?P<bytes>\d+)\n"


def core(name: str, features: tuple[str, ...], emulated_cpu: str, **facts) -> Target:
    """A generic core; `emulated_cpu` is the qemu model that has its features."""
    emulator = Emulator("riscv64-linux-gnu-gcc", ("-static",), "qemu-riscv64", ("-cpu", emulated_cpu), packages=PACKAGES)
    return Target(name=name, triple="riscv64-unknown-linux-gnu", cpu="generic-rv64", features=features, abi_name="lp64d", registers=32,
                  fma=True, fma_latency=4, fma_per_cycle=1, l1_bytes=32 << 10, l2_bytes=512 << 10, code_model="medium",
                  instructions=available(INSTRUCTIONS, features), emulator=emulator, **facts)


TARGETS = (
    core("riscv64", GC, "rv64", vector_bits=0, scalar_operand="register"),
    core("riscv64-v128", V, "rv64,v=true,vlen=128,vext_spec=v1.0", vector_bits=128, vector_scale=2, scalar_operand="memory", masks=True,
         vector_frame=FRAME),
    core("riscv64-v256", (*V, "zvl256b"), "rv64,v=true,vlen=256,vext_spec=v1.0", vector_bits=256, vector_scale=4, scalar_operand="memory",
         masks=True, vector_frame=FRAME),
)
