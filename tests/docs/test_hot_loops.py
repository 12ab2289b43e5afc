"""Reading a profile: runs of instructions from runs of blocks, innermost loops from backward branches, shares from llvm-mca."""

import importlib.util
import sys
from pathlib import Path

import pytest

LISTING = """
0000000000001000 <edgec_k>:
    1000: mov x0, xzr
    1004: ldr q0, [x1]                // comment
    1008: fmla v1.4s, v2.4s, v0.s[0]
    100c: subs x0, x0, #0x1
    1010: b.ne 0x1004 <edgec_k+0x4>
    1014: ret
0000000000002000 <main>:
    2000: ret
"""
SAID = "block 1000 5 1\nblock 1004 4 99\nblock 1014 1 1\nblock 2000 1 1\ninstructions=7"


@pytest.fixture(scope="module")
def hot():
    path = Path(__file__).parents[2] / "docs" / "hot_loops.py"
    spec = importlib.util.spec_from_file_location("hot_loops", path)
    module = sys.modules["hot_loops"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_give_the_runs_of_every_instruction_of_the_kernels(hot):
    profile = hot.executed(LISTING, SAID)
    assert [i.runs for i in profile] == [1, 100, 100, 100, 100, 1]
    assert {i.function for i in profile} == {"edgec_k"}


def test_a_backward_branch_ends_a_loop(hot):
    loop, = hot.hot_loops(hot.executed(LISTING, SAID))
    assert loop.assembly == (".L1:", "ldr q0, [x1]", "fmla v1.4s, v2.4s, v0.s[0]", "subs x0, x0, #0x1", "b.ne .L1")
    assert (loop.multiply_adds, loop.runs) == (1, 100)


def test_loops_without_multiply_adds_or_with_few_turns_are_left_out(hot):
    profile = hot.executed(LISTING, SAID)
    assert hot.hot_loops(profile, least=1.0) == []
    assert hot.hot_loops(hot.executed(LISTING.replace("fmla", "fadd"), SAID)) == []


def test_the_share_is_held_against_multiply_adds_alone(hot, monkeypatch, tmp_path):
    """With a stand-in for llvm-mca that takes one cycle a line."""
    tool = tmp_path / "llvm-mca-22"
    tool.write_text('#!/bin/sh\necho "Total Cycles:      $((50 * $(grep -c .)))"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    loops = [hot.HotLoop("edgec_k", ("fmla v0", "fmla v1", "fadd v2", "ldr q0"), 2, 3, 100),
             hot.HotLoop("edgec_k", ("fmla v0", "ldr q0"), 1, 1, 50)]
    assert hot.cycles(loops[0].assembly, "any") == 4
    assert hot.shares(loops, "any") == pytest.approx(((2 * 100 + 50) / (4 * 100 + 2 * 50), (3 * 100 + 50) / (4 * 100 + 2 * 50)))


@pytest.mark.parametrize("line, counts", [("fmax v3.4s, v1.4s, v2.4s", 2), ("fminnm v3.4s, v1.4s, v2.4s", 2), ("fmul v3.4s, v1.4s, v2.4s", 2),
                                          ("fmul s3, s1, s2", 1), ("mov v3.16b, v1.16b", 1), ("fcvtns v3.4s, v1.4s", 1), ("dup v3.4s, w1", 1)])
def test_what_counts_as_arithmetic_beside_multiply_adds(hot, line, counts):
    loop, = hot.hot_loops(hot.executed(LISTING.replace("ldr q0, [x1]                // comment", line), SAID))
    assert (loop.multiply_adds, loop.arithmetic) == (1, counts)
