"""The README with its table of figures as the measured pages say them today; `python docs/make.py` writes it, nothing is measured here.

    cell(Path("docs/arm.md"), "mobilenet_v2 | aarch64", 1)       # '98.4'
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- docs/figures.py writes from here -->", "<!-- to here -->"


def page() -> str:
    """README.md, everything outside of the two marks as it is."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}{END}{rest.split(END)[1]}"


def table() -> str:
    """The figures a newcomer asks for first, each with the page that has all of them."""
    return "| what | measured | page |\n|---|---|---|\n" + "".join(f"| {' | '.join(row)} |\n" for row in (*speeds(), *sizes(), *breadth()))


def speeds() -> list[tuple[str, str, str]]:
    """Geometric means of the best peer's time over edgec's."""
    wanted = (
        ("f32 on x86-64, one thread, best of five other engines / edgec", "Latency, one thread"),
        ("the same with two threads", "Latency, two threads"),
        ("bf16, OpenVINO / edgec", "16-bit arithmetic, one thread"),
        ("8-bit integers, one thread, best of three other engines / edgec", "Integers (8 bits), one thread"),
    )
    return [(what, mean(DOCS / "benchmarks.md", title), "[benchmarks](docs/benchmarks.md)") for what, title in wanted]


def sizes() -> list[tuple[str, str, str]]:
    """What small machines are given."""
    arm, link = DOCS / "arm.md", "[arm](docs/arm.md)"
    return [
        ("MobileNetV2, one image of 224 pixels, f32 on any AArch64",
         f"{cell(arm, 'mobilenet_v2 | aarch64', 0)} M instructions; {cell(arm, 'mobilenet_v2 | aarch64', 3)} KB of code with `-Os`", link),
        ("a ResNet-8 in bytes on Cortex-M4",
         f"{cell(arm, 'mlperf_ic_resnet8 | cortex-m4', 1)} instructions a multiply-add; {cell(arm, 'mlperf_ic_resnet8 | cortex-m4', 3)} KB "
         "of flash, weights and all", link),
    ]


def breadth() -> list[tuple[str, str, str]]:
    """How much of ONNX there is."""
    passed = cell(DOCS / "operators.md", "native", 0)
    cases = re.search(r"`onnx.backend.test` has (\d+) cases", (DOCS / "operators.md").read_text(encoding="utf-8"))
    return [("ONNX's own test suite, compiled", f"{passed} of {cases[1]} cases pass", "[operators](docs/operators.md)")]


def mean(path: Path, title: str) -> str:
    """The first geometric mean below a heading, and how many models it is of."""
    below = path.read_text(encoding="utf-8").split(f"## {title}\n")[1]
    found = re.search(r"^Geometric mean of .* over (\d+) models: \*\*([\d.]+)\*\*", below, re.MULTILINE)
    return f"{found[2]} over {found[1]} networks"


def cell(path: Path, row: str, column: int) -> str:
    """That cell behind the words that a table's first line of this beginning opens with."""
    line = next(each for each in path.read_text(encoding="utf-8").splitlines() if each.startswith(f"| {row} |"))
    return line.removeprefix(f"| {row} |").split("|")[column].strip()


if __name__ == "__main__":
    README.write_text(page(), encoding="utf-8")
