"""Weights that are read once a call pass through the address translation of every small page; in pages of 2 MiB most of that goes away.

Linux gathers memory into such pages when asked with madvise(MADV_COLLAPSE), since 6.1. Where it cannot, nothing changes.

    use_huge_pages(address_of_the_code, len(obj))      # bytes that lie in huge pages now
"""
import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HUGE = 2 << 20              # a huge page, on x86-64 and on AArch64 with pages of 4 KiB
MADV_COLLAPSE = 25          # include/uapi/asm-generic/mman-common.h
MAPS = Path("/proc/self/maps")
Advise = Callable[[int, int, int], int]


def use_huge_pages(address: int, size: int, advise: Advise | None = None, maps: Path = MAPS) -> int:
    """Gather what lies around `address`: the mappings without a file and without a gap, up to `size` bytes and some. 0 where none does."""
    if size < HUGE or not sys.platform.startswith("linux") or not maps.is_file():
        return 0
    advise = advise or _madvise()
    found = 0
    for start, end in neighbours(maps.read_text(), address):
        first, last = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        if first < last and end - start <= size + HUGE and advise(first, last - first, MADV_COLLAPSE) == 0:
            found += last - first
    return found


def neighbours(text: str, address: int) -> Iterator[tuple[int, int]]:
    """The mappings of no file, adjacent to each other, among which is that of `address`; `text` is /proc/self/maps, see proc(5)."""
    runs: list[list[tuple[int, int]]] = [[]]
    for line in text.splitlines():
        place, _, _, _, inode, *_ = line.split()
        start, end = (int(part, 16) for part in place.split("-"))
        if inode != "0" or not runs[-1] or runs[-1][-1][1] != start:
            runs.append([])
        if inode == "0":
            runs[-1].append((start, end))
    return iter(next((run for run in runs if any(start <= address < end for start, end in run)), []))


def _madvise() -> Advise:
    function = ctypes.CDLL(None).madvise
    function.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return function
