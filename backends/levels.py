"""Levels of one architecture in one object, and how a processor is asked at run time which of them it has: plain data.

A target with `levels` (narrowest first) can be compiled as one object that holds code for each; `dispatch.py` writes the asking and the
choosing. What LLVM has no portable instruction for is a `Routine`: machine code as bytes, so that no assembler is needed anywhere.

    >>> find("x86-64").levels[1].checks[0]
    Check(routine='cpuid', arguments=(0, 0), word=0, mask=4294967295, least=7)
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Routine:
    """Machine code of `void routine(uint32_t, uint32_t, uint32_t answer[4])`, position-independent, free of calls."""
    name: str
    code: bytes


@dataclass(frozen=True)
class Check:
    """`(answer[word] & mask) >= least`, unsigned, for the answer of a routine to its arguments."""
    routine: str
    arguments: tuple[int, int]
    word: int
    mask: int
    least: int


@dataclass(frozen=True)
class Level:
    """A target whose code runs where all checks hold, and those of the levels below. Checks are made in order and stop at the first that
    fails, so one may stand for the right to ask the next."""
    target: str
    checks: tuple[Check, ...]

    @property
    def macro(self) -> str:
        """The name as part of a C macro."""
        return "".join(c.upper() if c.isalnum() else "_" for c in self.target)


def bits(routine: str, arguments: tuple[int, int], word: int, *numbers: int) -> Check:
    """The check that all bits of these numbers are set in a word of the answer."""
    mask = sum(1 << number for number in numbers)
    return Check(routine, arguments, word, mask, mask)


def at_least(routine: str, arguments: tuple[int, int], word: int, least: int) -> Check:
    """The check that a word of the answer, as a number, is no smaller."""
    return Check(routine, arguments, word, 0xFFFFFFFF, least)
