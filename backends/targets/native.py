"""The computer this runs on: the widest described target of its architecture, tuned for and restricted to the processor found.

Compiling for it is the one thing that is not the same on every machine; `Target.seen` records what was found.

    >>> find("native").seen
    'znver4: x86-64-v4 with avx512vnni ..., caches 32 KiB, 1 MiB, 32 MiB'
"""
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import llvmlite.binding as llvm

from edgec.backends.target import Target, available
from edgec.backends.targets import aarch64, armv7, x86_64

ROWS = {"x86_64": x86_64.INSTRUCTIONS, "aarch64": aarch64.INSTRUCTIONS, "arm": armv7.INSTRUCTIONS}
SUFFIXES = {"K": 1 << 10, "M": 1 << 20}


def detect(known: Sequence[Target]) -> Target:
    """The host as a target named `native`, built on the widest of the `known` ones that the host can run."""
    caches = cache_sizes(Path("/sys/devices/system/cpu/cpu0/cache"))
    return describe(known, llvm.get_default_triple(), llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features()), caches)


def describe(known: Sequence[Target], triple: str, cpu: str, features: dict[str, bool], caches: tuple[int, ...]) -> Target:
    """`native` for a host with this triple, LLVM cpu name, features (present or not) and cache sizes in bytes (() when unknown).

    Absent features are switched off by name: a virtual machine may hide some that the processor's name promises.
    """
    architecture = triple.split("-")[0]
    present = frozenset(name for name, on in features.items() if on)
    base = widest(known, architecture, present)
    rows = next((rows for prefix, rows in ROWS.items() if architecture.startswith(prefix)), base.instructions)
    l1, l2, l3 = (*caches, 0, 0, 0)[:3] if caches else (base.l1_bytes, base.l2_bytes, base.l3_bytes)
    signed = tuple(name if on else "-" + name for name, on in sorted(features.items()))
    extra = " ".join(sorted(present - frozenset(base.features)))
    emulator = base.emulator and replace(base.emulator, qemu="", qemu_flags=())
    return replace(base, name="native", cpu=cpu, features=signed or base.features, l1_bytes=l1, l2_bytes=l2, l3_bytes=l3,
                   instructions=available(rows, present or base.features), emulator=emulator,
                   seen=f"{cpu}: {base.name} with {extra or 'nothing more'}; caches {l1} {l2} {l3} bytes")


def widest(known: Sequence[Target], architecture: str, present: frozenset[str]) -> Target:
    """The target of this architecture with the widest vectors whose features the host has; the least demanding if LLVM sees no features.

    Targets of a fixed vector scale are left out: how long such vectors are on the host is not among its features.
    """
    family = [target for target in known if target.triple.split("-")[0] == architecture and not target.vector_scale]
    fitting = [target for target in family if frozenset(target.features) <= present]
    return max(fitting or family[:1] or list(known[:1]), key=lambda target: (target.vector_bits, len(target.features)))


def cache_sizes(folder: Path) -> tuple[int, ...]:
    """Bytes of the data or unified caches from level 1 up, as Linux lists them; () where it does not."""
    levels = {}
    for index in sorted(folder.glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            size = (index / "size").read_text().strip()
            levels[int((index / "level").read_text())] = int(size[:-1]) * SUFFIXES[size[-1]]
    return tuple(levels[level] for level in sorted(levels))
