"""Say whether a model can be compiled for a target: every problem at once, each with its node, the reason and what would do.

    edgec check model.onnx --target cortex-m4
    edgec check model.onnx --json

Everything up to the object is made and nothing is written. The status is 0 only if the model compiles.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from edgec.cli.model_arguments import add_compile_arguments, add_model_arguments, compile_options, model_options
from edgec.errors import CompileError

name, help = "check", "say whether a model compiles, and all that stands in the way"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser, state=False)
    add_compile_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(arguments: argparse.Namespace) -> int:
    from edgec.errors import raise_all
    from edgec.model_problems import model_problems

    artifact, problems = model_problems(arguments.model, model_options(arguments), compile_options(arguments))
    facts = {"kernels": len(artifact.manifest["kernels"]), "arena_bytes": artifact.interface.arena_bytes,
             "flash_bytes": artifact.interface.flash_bytes} if artifact else {}
    if arguments.json:
        answer = {"model": arguments.model, "target": arguments.target, "compiles": artifact is not None, **facts}
        print(json.dumps({**answer, "problems": [_as_json(problem) for problem in problems]}, indent=2))
        return int(artifact is None)
    raise_all(problems)
    print(f"{arguments.model}: {facts['kernels']} kernels, {facts['arena_bytes']:,} bytes of arena")
    return 0


def _as_json(problem: CompileError) -> dict[str, Any]:
    place = problem.loc
    where = {"node": place.node, "operator": place.op, "index": place.index} if place else {"node": "", "operator": "", "index": None}
    return {**where, "kind": type(problem).__name__, "reason": problem.message, "notes": list(problem.notes), "hint": problem.hint}
