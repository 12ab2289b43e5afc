"""What `make demo` runs: the digits network on this computer, an aarch64 core and two microcontrollers, then in a C program.

Every target classifies real held-out samples, and every answer is compared with the reference interpreter; what is not this computer
runs under qemu. Then `out/` at the root of the repository gets digits.o, digits.h and main.c, and gcc makes a program of them.

    python testdata/digits/demo.py
"""

import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import edgec
from edgec.backends.artifact import Artifact
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import Target, find

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "out"
MODEL, INPUT, OUTPUT = HERE / "digits.onnx", "image", "probabilities"
SAMPLES = {"native": 450, "aarch64": 60, "cortex-m4": 40, "cortex-m55": 40}    # emulators are slow, so they get fewer
ROUNDS, CALLS = 15, 1000
ALIKE = 1e-5            # probabilities of f32 networks that only round in another order are closer than this


@dataclass(frozen=True)
class Measured:
    """What one target made of `len(answers)` samples: probabilities, the cost of one inference (whichever is known) and bytes of memory."""

    answers: np.ndarray
    microseconds: float | None
    instructions: int | None
    ram: int
    flash: int


def main() -> int:
    """Print the table, link the program, run it; 0 when every answer was the interpreter's."""
    console = Console()
    if not console.is_terminal:
        console.width = 110
    with np.load(HERE / "digits.npz") as data:
        images, labels = data["inputs"][:, None], data["labels"]
    with console.status("running the reference interpreter"):
        expected = interpreted(images)
    table, good = comparison(console, images, labels, expected)
    console.print(table)
    console.print("Agreement and the largest difference of a probability are with the reference interpreter. Latency and instructions are\n"
                  "of one inference, RAM is the arena and the deepest stack, flash is code, constants and weights.\n", soft_wrap=True)
    return 0 if link_and_run(console) and good else 1


def interpreted(images: np.ndarray) -> np.ndarray:
    """Probabilities f32[samples, 10] from the reference interpreter."""
    graph = edgec.load(MODEL)
    return np.concatenate([edgec.interpret(graph, {INPUT: image})[OUTPUT] for image in images])


def comparison(console: Console, images: np.ndarray, labels: np.ndarray, expected: np.ndarray) -> tuple[Table, bool]:
    """One row a target, and whether all answers agree with the expected ones."""
    table = Table(title="digits: a small convolutional network on handwritten digits", title_justify="left")
    table.add_column("target")
    for name in ("samples", "accuracy", "agreement", "difference", "latency", "instructions", "RAM", "flash"):
        table.add_column(name, justify="right")
    good = True
    for name, count in SAMPLES.items():
        target = find(name)
        missing = missing_tools(target) if name != "native" else []
        if missing:
            packages = " ".join(target.emulator.packages)
            console.print(f"{name} is left out: it needs {' and '.join(missing)} (Debian: apt-get install {packages})", soft_wrap=True)
            continue
        with console.status(f"compiling for {name}"):
            measured = measure(target, images[:count])
        agreeing, difference = agreement(measured.answers, expected[:count])
        good &= agreeing == count and difference <= ALIKE
        accuracy = np.mean(measured.answers.argmax(axis=1) == labels[:count])
        table.add_row(name, str(count), f"{accuracy:.1%}", f"{agreeing} of {count}", f"{difference:.1e}",
                      f"{measured.microseconds:.1f} us" if measured.microseconds else "",
                      f"{measured.instructions:,}" if measured.instructions else "", f"{measured.ram:,} B", f"{measured.flash:,} B")
    return table, good


def agreement(answers: np.ndarray, expected: np.ndarray) -> tuple[int, float]:
    """How many samples get the same class, and the largest difference of a probability."""
    return int(np.sum(answers.argmax(axis=1) == expected.argmax(axis=1))), float(np.max(np.abs(answers - expected)))


def measure(target: Target, images: np.ndarray) -> Measured:
    """Compile for the target and run the images: in this process for `native`, under emulation for the others."""
    artifact = edgec.compile(MODEL, target)
    samples = [{INPUT: image} for image in images]
    if target.name == "native":
        outputs, microseconds, instructions = [artifact.run(sample) for sample in samples], latency(artifact), None
    else:
        emulation = emulate(artifact, samples, count_instructions=bool(shutil.which("gcc")))
        outputs, microseconds, instructions = emulation.outputs, None, emulation.instructions
    answers = np.concatenate([output[OUTPUT] for output in outputs])
    facts = artifact.interface
    return Measured(answers, microseconds, instructions, facts.arena_bytes + facts.stack_bytes, facts.flash_bytes)


def latency(artifact: Artifact) -> float:
    """Microseconds of one call on the last inputs, the median of several rounds; a call from Python into C is included."""
    def one_round() -> float:
        started = time.perf_counter()
        for _ in range(CALLS):
            artifact.loaded.call()
        return (time.perf_counter() - started) / CALLS
    return 1e6 * statistics.median(one_round() for _ in range(ROUNDS))


def link_and_run(console: Console) -> bool:
    """Write out/, show and run the line that links it, run the program; True unless something failed."""
    edgec.compile(MODEL).write(OUT, emit={"obj", "header"})
    shutil.copy(HERE / "main.c", OUT)
    console.print(f"{OUT.name}/ has digits.o, digits.h and main.c; what links them is")
    compiler = next((name for name in ("gcc", "cc") if shutil.which(name)), "")
    if not compiler:
        console.print("  gcc main.c digits.o -o main     (left out: there is no C compiler; Debian: apt-get install gcc libc6-dev)")
        return True
    for command in ([compiler, "main.c", "digits.o", "-o", "main"], ["./main"]):
        console.print(f"  [bold]{' '.join(command)}")
        done = subprocess.run(command, cwd=OUT, capture_output=True, text=True)
        console.print(done.stdout + done.stderr, end="", markup=False, highlight=False)
        if done.returncode:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
