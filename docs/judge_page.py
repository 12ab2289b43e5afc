"""Writes docs/models.md from what docs/judge_models.py has kept in docs/models.json: nothing is run here.

    Path("docs/models.md").write_text(page(json.loads(Path("docs/models.json").read_text())))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TARGETS = ("native", "aarch64")
BOUND = 1e-4  # what docs/judge_models.py allows
HEAD = """# Models

Every model of `../shared/models` and of the zoo that `../shared/make_zoo.py` writes (random weights), compiled and held against onnxruntime
on the same samples: natively at `-O3`, for aarch64 at `-O1` under qemu. A figure is the largest difference of any output over all samples,
divided by that output's largest value; integers (classes) must be equal, NaN and infinities in the same places. At most {bound} is allowed.
Models called `_dyn` have an open batch: they are compiled for 1 to 3 and run with 1 and with 2.

Samples are *real* where `../shared/data` has some for the model (labelled data, photographs, recordings with the states that the float
model has there), else *drawn*; their number stands beside.

`python docs/judge_models.py ../shared/models ZOO --keep` measures the rows and writes this page, with `--only NAME` some of them.

"""


def page(facts: Mapping[str, Any]) -> str:
    """The whole page: the models by source and size."""
    order = sorted(facts, key=lambda name: (name.split("/")[0], facts[name]["bytes"], name))
    return HEAD.format(bound=f"{BOUND:.0e}") + "\n".join([*_table(facts, order), "", *_sums(facts)]) + "\n"


def _table(facts: Mapping[str, Any], order: list[str]) -> list[str]:
    columns = ("model", "source", "kB", *TARGETS, "inputs")
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(_line(name, facts[name]) for name in order)]


def _line(name: str, entry: Mapping[str, Any]) -> str:
    source, model = name.split("/")
    cells = (_cell(entry["targets"].get(target)) for target in TARGETS)
    return f"| {model} | {source} | {entry['bytes'] / 1e3:,.0f} | {' | '.join(cells)} | {_inputs(entry['targets'])} |"


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    if found["problem"]:
        return found["problem"].splitlines()[0].replace("|", "/")
    return f"{found['difference']:.1e}" if found["difference"] <= BOUND else f"**{found['difference']:.1e}**"


def _inputs(targets: Mapping[str, Any]) -> str:
    """As many as each target was given: `6 real`."""
    return ", ".join(dict.fromkeys(f"{targets[t]['runs']} {targets[t]['kind']}" for t in TARGETS if t in targets and targets[t]["kind"]))


def _sums(facts: Mapping[str, Any]) -> list[str]:
    """How many of all are within the bound, a line a target."""
    lines = []
    for target in TARGETS:
        found = [entry["targets"].get(target) for entry in facts.values()]
        judged = [f["difference"] for f in found if f and not f["problem"]]
        worst = f", the largest {max(judged):.1e}" if judged else ""
        lines.append(f"{target}: {sum(d <= BOUND for d in judged)} of {len(found)} models are within {BOUND:.0e}{worst}.  ")
    return lines
