"""The peak memory of a process that loads one model, runs it once, and does nothing else.

Such a process is this module, run with `python -m`, fed a pickled job on standard input; Linux tells its high-water mark.

    peak_bytes(runner.recipe, {"x": x})      # 81_264_640
"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping

import numpy as np

STATUS = Path("/proc/self/status")


def peak_bytes(recipe: tuple[Any, ...], arrays: Mapping[str, np.ndarray]) -> int:
    """Resident bytes at most; 0 where the system does not tell, or the process fails."""
    job = pickle.dumps((recipe, dict(arrays)))
    done = subprocess.run([sys.executable, "-m", "edgec.bench_memory"], input=job, capture_output=True)
    text = done.stdout.decode(errors="replace").strip().splitlines()
    return int(text[-1]) if not done.returncode and text and text[-1].isdigit() else 0


def _run(recipe: tuple[Any, ...], arrays: Mapping[str, np.ndarray]) -> None:
    if recipe[0] == "edgec":
        from edgec.backends.native import Loaded
        Loaded(recipe[1], recipe[2]).run(arrays)
    else:
        from edgec.bench_peers import load_peer
        load_peer(*recipe[1:]).run(arrays)


def _high_water_mark() -> int:
    """VmHWM; getrusage would count the parent's memory too, which a forked child begins with."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text() if STATUS.exists() else "", re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


if __name__ == "__main__":
    _run(*pickle.load(sys.stdin.buffer))
    print(_high_water_mark())
