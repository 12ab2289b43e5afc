"""Weights in huge pages: which mappings are gathered, and that what they hold stays."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from edgec.backends.huge_pages import HUGE, MADV_COLLAPSE, neighbours, use_huge_pages

MAPS = """\
10000000-10200000 r-xp 00000000 fd:00 77         /usr/lib/some.so
10200000-10201000 r-xp 00000000 00:00 0
10201000-10a01000 r--p 00000000 00:00 0
10a01000-10a02000 rw-p 00000000 00:00 0 [anon: name with spaces]
10b00000-20b00000 rw-p 00000000 00:00 0 [heap]
20b00000-20c00000 rw-p 00000000 fd:00 78         /tmp/file
"""


def test_neighbours_are_adjacent_and_of_no_file():
    expected = [(0x10200000, 0x10201000), (0x10201000, 0x10A01000), (0x10A01000, 0x10A02000)]
    assert list(neighbours(MAPS, 0x10200010)) == expected == list(neighbours(MAPS, 0x10A01FFF))
    assert list(neighbours(MAPS, 0x10B00000)) == [(0x10B00000, 0x20B00000)]
    assert not list(neighbours(MAPS, 0x10000000)) and not list(neighbours(MAPS, 0x10A02000)) and not list(neighbours("", 0))


@pytest.mark.parametrize("size, status, asked", [(8 << 20, 0, True), (8 << 20, -1, True), (1 << 20, 0, False), (4 << 20, 0, False)])
def test_whole_huge_pages_are_asked_for(tmp_path, size, status, asked):
    (tmp_path / "maps").write_text(MAPS)
    calls = []

    def advise(*arguments):
        calls.append(arguments)
        return status
    found = use_huge_pages(0x10200010, size, advise, tmp_path / "maps")
    assert calls == ([(0x10400000, 0x600000, MADV_COLLAPSE)] if asked else [])
    assert found == (0x600000 if asked and status == 0 else 0)


def test_a_system_without_maps_is_left_alone(tmp_path):
    assert use_huge_pages(0x1000, 8 << 20, None, tmp_path / "none") == 0


def test_memory_keeps_its_contents():
    block = np.frombuffer(mmap.mmap(-1, 4 * HUGE), np.uint32)
    block[:] = np.arange(len(block))
    found = use_huge_pages(block.ctypes.data, block.nbytes)
    assert 0 <= found <= block.nbytes + HUGE and found % HUGE == 0
    assert np.array_equal(block, np.arange(len(block)))
    if found:
        assert Path("/proc/self/smaps_rollup").is_file()
