"""x86-64 by micro-architecture level (System V psABI, section 3.1.1): v2 = SSE4.2, v3 = AVX2 + FMA, v4 = AVX-512.

A scalar reaches a multiply-add as a broadcast from memory, which costs no register. The dot-product rows need extensions
beyond the levels; they serve the target that describes this computer, and `alderlake`: v3 with AVX-VNNI, which are the dot
products of AVX-512-VNNI on 256 bits and in VEX encoding (Intel's client processors from Alder Lake on, AMD's from Zen 5 on).
`x86-64` is the lowest level, and can hold the others too.
"""
from edgec.backends.levels import Level, Routine, at_least, bits
from edgec.backends.target import Emulator, Target, available, row

V2 = ("cmov", "cx8", "cx16", "fxsr", "mmx", "popcnt", "sahf", "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2")
V3 = V2 + ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
V3_VNNI = V3 + ("avxvnni",)
V4 = V3 + ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


# Widest first. vpdpbusd multiplies unsigned by signed bytes and does not saturate; vpmaddwd is exact except for -32768 four times.
INSTRUCTIONS = (
    row("vpdpbusd", "avx512vnni", "llvm.x86.avx512.vpdpbusd.512", "acc:i32[16] += dot(a:u8[64], b:i8[64], group=4)"),
    row("vpdpbusd", "avx512vnni avx512vl", "llvm.x86.avx512.vpdpbusd.256", "acc:i32[8] += dot(a:u8[32], b:i8[32], group=4)"),
    row("vpdpbusd", "avxvnni", "llvm.x86.avx512.vpdpbusd.256", "acc:i32[8] += dot(a:u8[32], b:i8[32], group=4)"),
    row("vpdpbusd", "avx512vnni avx512vl", "llvm.x86.avx512.vpdpbusd.128", "acc:i32[4] += dot(a:u8[16], b:i8[16], group=4)"),
    row("vpdpbusd", "avxvnni", "llvm.x86.avx512.vpdpbusd.128", "acc:i32[4] += dot(a:u8[16], b:i8[16], group=4)"),
    row("vpdpwssd", "avx512vnni", "llvm.x86.avx512.vpdpwssd.512", "acc:i32[16] += dot(a:i16[32], b:i16[32], group=2)"),
    row("vpdpwssd", "avx512vnni avx512vl", "llvm.x86.avx512.vpdpwssd.256", "acc:i32[8] += dot(a:i16[16], b:i16[16], group=2)"),
    row("vpdpwssd", "avxvnni", "llvm.x86.avx512.vpdpwssd.256", "acc:i32[8] += dot(a:i16[16], b:i16[16], group=2)"),
    row("vpdpwssd", "avx512vnni avx512vl", "llvm.x86.avx512.vpdpwssd.128", "acc:i32[4] += dot(a:i16[8], b:i16[8], group=2)"),
    row("vpdpwssd", "avxvnni", "llvm.x86.avx512.vpdpwssd.128", "acc:i32[4] += dot(a:i16[8], b:i16[8], group=2)"),
    row("vpmaddwd", "avx512bw", "llvm.x86.avx512.pmaddw.d.512", "r:i32[16] = dot(a:i16[32], b:i16[32], group=2)"),
    row("vpmaddwd", "avx2", "llvm.x86.avx2.pmadd.wd", "r:i32[8] = dot(a:i16[16], b:i16[16], group=2)"),
    row("pmaddwd", "sse2", "llvm.x86.sse2.pmadd.wd", "r:i32[4] = dot(a:i16[8], b:i16[8], group=2)"),
    row("vdpbf16ps", "avx512bf16", "llvm.x86.avx512bf16.dpbf16ps.512", "acc:f32[16] += dot(a:bf16[32], b:bf16[32], group=2)"),
    row("vdpbf16ps", "avx512bf16 avx512vl", "llvm.x86.avx512bf16.dpbf16ps.256", "acc:f32[8] += dot(a:bf16[16], b:bf16[16], group=2)"),
    row("vdpbf16ps", "avx512bf16 avx512vl", "llvm.x86.avx512bf16.dpbf16ps.128", "acc:f32[4] += dot(a:bf16[8], b:bf16[8], group=2)"),
    row("vcvtneps2bf16", "avx512bf16 avx512vl", "fptrunc", "r:bf16[*] = cast(a:f32[*])"),
    row("vfmadd", "fma", "llvm.fma", "r:f32[*] = fma(a:f32[*], b:f32[*], c:f32[*])"),
    row("vfmadd", "fma", "llvm.fma", "r:f64[*] = fma(a:f64[*], b:f64[*], c:f64[*])"),
    row("roundps/vrndscaleps", "sse4.1", "llvm.roundeven", "r:f32[*] = round_half_even(a:f32[*])"),
    row("roundpd/vrndscalepd", "sse4.1", "llvm.roundeven", "r:f64[*] = round_half_even(a:f64[*])"),
    row("roundps/vrndscaleps", "sse4.1", "llvm.floor", "r:f32[*] = floor(a:f32[*])"),
    row("roundpd/vrndscalepd", "sse4.1", "llvm.floor", "r:f64[*] = floor(a:f64[*])"),
    row("roundps/vrndscaleps", "sse4.1", "llvm.ceil", "r:f32[*] = ceil(a:f32[*])"),
    row("roundpd/vrndscalepd", "sse4.1", "llvm.ceil", "r:f64[*] = ceil(a:f64[*])"),
    row("roundps/vrndscaleps", "sse4.1", "llvm.trunc", "r:f32[*] = trunc(a:f32[*])"),
    row("roundpd/vrndscalepd", "sse4.1", "llvm.trunc", "r:f64[*] = trunc(a:f64[*])"),
    row("vpermi2b/vpermt2b", "avx512vbmi", "llvm.x86.avx512.vpermi2var.qi.512", "r:u8[64] = pick(a:u8[64], i:u8[64], b:u8[64])"),
    row("cvtps2dq", "sse2", "llvm.lrint", "r:i32[*] = nearest(a:f32[*])"),
    row("sqrtps", "sse2", "llvm.sqrt", "r:f32[*] = sqrt(a:f32[*])"),
    row("sqrtpd", "sse2", "llvm.sqrt", "r:f64[*] = sqrt(a:f64[*])"),
    row("vcvtph2ps", "f16c", "fpext", "r:f32[*] = cast(a:f16[*])"),
    row("vcvtps2ph", "f16c", "fptrunc", "r:f16[*] = cast(a:f32[*])"),
)


# Which level a processor has: Intel's manual, volume 2, CPUID and XGETBV; AMD's, volume 3, appendix E, for leaf 0x80000001.
# Arguments arrive in edi, esi and rdx (System V); cpuid overwrites rbx, which is the caller's.
ROUTINES = (
    Routine("cpuid", bytes.fromhex(
        "53"            # push rbx
        "4989d0"        # mov r8, rdx
        "89f8" "89f1"   # mov eax, edi; mov ecx, esi
        "0fa2"          # cpuid
        "418900" "41895804" "41894808" "4189500c"   # mov [r8], eax; [r8+4], ebx; [r8+8], ecx; [r8+12], edx
        "5b" "c3")),    # pop rbx; ret
    Routine("xgetbv", bytes.fromhex(
        "4989d0"        # mov r8, rdx
        "89f9"          # mov ecx, edi
        "0f01d0"        # xgetbv
        "418900" "41895004"     # mov [r8], eax; [r8+4], edx
        "c3")),         # ret
)
EAX, EBX, ECX = 0, 1, 2
FEATURES, MORE, EXTENDED, ENABLED = (1, 0), (7, 0), (0x80000001, 0), (0, 0)
HAS_V2 = (at_least("cpuid", (0x80000000, 0), EAX, 0x80000001),
          bits("cpuid", FEATURES, ECX, 0, 9, 13, 19, 20, 23),           # SSE3 SSSE3 CMPXCHG16B SSE4.1 SSE4.2 POPCNT
          bits("cpuid", EXTENDED, ECX, 0))                              # LAHF and SAHF
HAS_V3 = (at_least("cpuid", (0, 0), EAX, 7),
          bits("cpuid", FEATURES, ECX, 12, 22, 26, 27, 28, 29),         # FMA MOVBE XSAVE OSXSAVE AVX F16C
          bits("xgetbv", ENABLED, EAX, 1, 2),                           # the system keeps xmm and ymm
          bits("cpuid", MORE, EBX, 3, 5, 8),                            # BMI1 AVX2 BMI2
          bits("cpuid", EXTENDED, ECX, 5))                              # LZCNT
HAS_V4 = (bits("xgetbv", ENABLED, EAX, 1, 2, 5, 6, 7),                  # and opmask, upper halves of zmm, zmm16 to zmm31
          bits("cpuid", MORE, EBX, 16, 17, 28, 30, 31))                 # AVX512 F DQ CD BW VL


def level(name: str, features: tuple[str, ...], qemu: str, cpu: str = "", **facts) -> Target:
    """A micro-architecture level."""
    emulator = Emulator("gcc", ("-static",), qemu, ("-cpu", "max") if qemu else (), packages=("gcc", "libc6-dev", "qemu-user"))
    return Target(name=name, triple="x86_64-unknown-linux-gnu", cpu=cpu or name, features=features, scalar_operand="memory",
                  fma_latency=4, fma_per_cycle=2, prefetches=True, l1_bytes=32 << 10, l3_bytes=8 << 20,
                  instructions=available(INSTRUCTIONS, features), emulator=emulator, **facts)


BASE = {"vector_bits": 128, "registers": 16, "fma": False, "l2_bytes": 256 << 10}


# qemu emulates neither AVX-512 nor AVX-VNNI: such code runs on a host that has them.
TARGETS = (
    level("x86-64-v2", V2, "qemu-x86_64", **BASE),
    level("x86-64-v3", V3, "qemu-x86_64", vector_bits=256, registers=16, fma=True, l2_bytes=512 << 10),
    level("alderlake", V3_VNNI, "", vector_bits=256, registers=16, fma=True, l2_bytes=1280 << 10),
    level("x86-64-v4", V4, "", vector_bits=512, registers=32, fma=True, masks=True, l2_bytes=1 << 20),
    level("x86-64", V2, "qemu-x86_64", "x86-64-v2", **BASE, routines=ROUTINES,
          levels=(Level("x86-64-v2", HAS_V2), Level("x86-64-v3", HAS_V3), Level("x86-64-v4", HAS_V4))),
)
