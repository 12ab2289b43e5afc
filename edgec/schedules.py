"""Measured schedules of kernels: a text file that `edgec tune` writes, people read and commit, and `--schedules` uses.

    kernel 0c5e4e1a8d1f4b7e93aa02f1 native 337.1 -> 301.5 us, 41 tried, /bn1/act/Clip_output_0
      vector i0 16+16 | rows i2 x12 | outer i1
      as estimated

A kernel is known by a digest of its text and its target's, so an entry serves equal kernels of other models, and no other target. Below
stands a line for each of its loop nests: a schedule (see passes/schedule_text.py), or that the estimate could not be beaten. An entry
whose kernel a model does not have is not used; one that does not fit its kernel is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.backends.target import Target
from edgec.errors import ModelError
from edgec.kernel import Kernel
from edgec.passes.nest import Nest
from edgec.passes.schedule import Schedule, schedule
from edgec.passes.schedule_text import parse_schedule
from edgec.program_text import kernel_key

HEAD = "# Schedules measured by `edgec tune`, for `edgec compile --schedules FILE`: kernels by a digest of their text and target.\n"
LINE = re.compile(r"kernel ([0-9a-f]{24}) (\S+) ([\d.]+) -> ([\d.]+) us, (\d+) tried(, unfinished)?, (.*)")
ESTIMATED = "as estimated"


@dataclass(frozen=True)
class Entry:
    """One kernel: seconds of the estimated and of the best schedules, how many were tried, and a line for each nest."""

    key: str
    target: str
    before: float
    after: float
    tried: int
    name: str
    plans: tuple[str, ...]
    finished: bool = True  # all candidates were tried

    def text(self) -> str:
        tried = f"{self.tried} tried" + ("" if self.finished else ", unfinished")
        head = f"kernel {self.key} {self.target} {1e6 * self.before:.1f} -> {1e6 * self.after:.1f} us, {tried}, {self.name}"
        return "\n".join([head, *(f"  {plan}" for plan in self.plans)]) + "\n"


@dataclass(frozen=True)
class Schedules:
    """Entries by key, and the file they come from."""

    entries: dict[str, Entry] = field(default_factory=dict)
    file: str = ""

    def text(self) -> str:
        """The file: by the names of kernels, so that a change of one is a change of a few lines."""
        found = sorted(self.entries.values(), key=lambda e: (e.name, e.target, e.key))
        return "\n".join([HEAD, *(e.text() for e in found)])

    def with_entry(self, entry: Entry) -> Schedules:
        return Schedules(self.entries | {entry.key: entry}, self.file)

    def choose(self, kernel: Kernel, target: Target) -> Callable[[Nest, Any], Schedule]:
        """What `tile` asks for the schedule of each nest of a kernel. It raises ModelError for an entry that does not fit."""
        entry = self.entries.get(kernel_digest(kernel, target)) if self.entries else None
        if entry is None:
            return schedule
        plans = iter(entry.plans)

        def chosen(nest: Nest, machine: Any) -> Schedule:
            plan = next(plans, "")
            if plan == ESTIMATED:
                return schedule(nest, machine)
            try:
                return parse_schedule(plan, nest, machine)
            except ModelError as error:
                raise ModelError(f"{self.file or 'schedules'}: kernel {entry.key} ({entry.name}): {error.message}",
                                 hint="remove the entry, and run `edgec tune` again") from error

        return chosen

    def used(self, kernels: Any, target: Target) -> int:
        """How many of these kernels have an entry."""
        return sum(kernel_digest(kernel, target) in self.entries for kernel in kernels)


def kernel_digest(kernel: Kernel, target: Target) -> str:
    """What an entry is known by."""
    return hashlib.sha256("\0".join([kernel_key(kernel), target.text()]).encode()).hexdigest()[:24]


def parse_schedules(text: str, file: str = "") -> Schedules:
    """The entries of a file's text. ModelError names the line that is none."""
    found: dict[str, Entry] = {}
    plans: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.fullmatch(line)
        if match:
            key, target, before, after, tried, unfinished, name = match.groups()
            plans = []
            found[key] = Entry(key, target, float(before) / 1e6, float(after) / 1e6, int(tried), name, (), not unfinished)
        elif line.startswith("  ") and line.strip() and found:
            plans.append(line.strip())
            last = next(reversed(found))
            found[last] = Entry(**(vars(found[last]) | {"plans": tuple(plans)}))
        elif line.strip() and not line.startswith("#"):
            raise ModelError(f"{file or 'schedules'}:{number}: this is neither a kernel nor a schedule: {line.strip()[:60]}")
    return Schedules(found, file)


def read_schedules(path: Path) -> Schedules:
    """The entries of a file. ModelError for one that cannot be read, or is none."""
    try:
        return parse_schedules(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ModelError(f"{path}: cannot read the file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: this is no text file") from None


def known_schedules(given: Path | Schedules | None) -> Schedules:
    """Measured schedules: those of a file, those given, or none."""
    return given if isinstance(given, Schedules) else read_schedules(given) if given is not None else Schedules()
