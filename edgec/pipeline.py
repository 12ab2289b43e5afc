"""Passes and pipelines: what runs, with which options, in which order, and what happens between two passes.

A pass is a pure function from a graph to a graph in a file of its name; its keyword parameters are its options. A pipeline is text:

    steps = parse_pipeline("fold-constants,simplify{rounds=2}", registered())
    graph = run_pipeline(graph, steps, hooks=(verify_hook,))

Constraints are pairs with reasons (`before={"fuse": "kernels have no ops"}`); they are checked, and they place the passes of a user's file.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from edgec.errors import CompileError, ModelError, raise_all
from edgec.user_module import user_module

Hook = Callable[["Step", Any, Any, float], None]  # step, what went in, what came out, seconds
Constraints = Iterable[str] | Mapping[str, str]  # names of passes, with reasons as a mapping


@dataclass(frozen=True)
class Pass:
    """A named transformation: `options` are its keyword parameters with their defaults, `before` / `after` other passes with the reason."""

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    takes_target: bool = False

    def __call__(self, subject: Any, *args: Any, **options: Any) -> Any:
        return self.function(subject, *args, **options)

    @property
    def meaning(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").split("\n")[0]


@dataclass(frozen=True)
class Step:
    """A pass with the options of one run."""

    chosen: Pass
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inner = ",".join(f"{name}={_option_text(value)}" for name, value in self.options.items())
        return f"{self.chosen.name}{{{inner}}}" if inner else self.chosen.name


def graph_pass(name: str, before: Constraints = (), after: Constraints = ()) -> Callable[..., Pass]:
    """Decorator: a function (graph, **options) or (graph, target, **options) as the pass `name`.

    Parameters with a default are options. `before` and `after` name other passes, with reasons when given as a mapping.
    """
    def make(function: Callable[..., Any]) -> Pass:
        parameters = list(inspect.signature(function).parameters.values())
        options = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty and p.name != "target"}
        takes_target = len(parameters) > 1 and parameters[1].name == "target"
        return Pass(name, function, options, _reasons(before), _reasons(after), takes_target)
    return make


def _reasons(constraints: Constraints) -> dict[str, str]:
    return dict(constraints) if isinstance(constraints, Mapping) else dict.fromkeys(constraints, "")


@cache
def registered() -> Mapping[str, Pass]:
    """Every pass of the modules of edgec.passes, by name; the file, the function and the pass have one name."""
    package = importlib.import_module("edgec.passes")
    found: dict[str, Pass] = {}
    for module in pkgutil.iter_modules(package.__path__):
        found.update((p.name, p) for p in passes_in(importlib.import_module(f"edgec.passes.{module.name}")))
    return found


def passes_in(module: Any) -> list[Pass]:
    """The passes a module defines, in the order of the file (imported ones are not its own)."""
    return [item for item in vars(module).values() if isinstance(item, Pass) and item.function.__module__ == module.__name__]


def load_passes(path: str | Path) -> list[Pass]:
    """The passes of a user's Python file, checked to hold at least one; ModelError says why a file cannot be loaded."""
    found = passes_in(user_module(path, "passes", "give a Python file that uses @edgec.graph_pass"))
    if not found:
        raise ModelError(f"'{path}' defines no pass", hint="decorate a function (graph) -> graph with @edgec.graph_pass(\"name\")")
    return found


def parse_pipeline(text: str, passes: Mapping[str, Pass]) -> list[Step]:
    """Steps of a pipeline text; ModelError for an unknown pass or option and for malformed text."""
    steps, position = [], 0
    text = text.strip()
    item = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\{([^{}]*)\})?\s*(,|$)", re.ASCII)
    while position < len(text):
        match = item.match(text, position)
        if match is None or (match[3] == "," and match.end() == len(text)):
            raise ModelError(f"cannot read the pipeline at '{text[position:position + 40]}'", hint="write it as name,name{option=value}")
        steps.append(Step(_known(match[1], passes), _options(match[2] or "", _known(match[1], passes))))
        position = match.end()
    return steps


def print_pipeline(steps: Sequence[Step]) -> str:
    """The text of a pipeline; `parse_pipeline` reads it back."""
    return ",".join(str(step) for step in steps)


def _known(name: str, passes: Mapping[str, Pass]) -> Pass:
    if name not in passes:
        raise ModelError(f"there is no pass '{name}'", hint="the passes are " + ", ".join(sorted(passes)))
    return passes[name]


def _options(text: str, of: Pass) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (x.strip() for x in part.partition("="))
        if name not in of.options or name in found:
            raise ModelError(f"pass '{of.name}' has no option '{name}'" if name not in found else f"option '{name}' is given twice",
                             hint="its options are " + (", ".join(of.options) or "none"))
        found[name] = _option_value(value if equals else "true", of, name)
    return found


def _option_value(text: str, of: Pass, name: str) -> Any:
    """The value of an option in the type of its default (any Python literal where the default is None)."""
    default = of.options[name]
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if isinstance(default, (int, float)):
            return type(default)(text)
        return text if isinstance(default, str) else _literal(text)
    except (KeyError, ValueError):
        raise ModelError(f"option '{name}' of pass '{of.name}' cannot be '{text}'",
                         hint=f"its default is {_option_text(default)}") from None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _option_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def order_problems(steps: Sequence[Step]) -> list[str]:
    """Every constraint the order of the steps breaks, with its reason. A pass that stands several times must obey with its first for
    `before` and its last for `after`; a constraint on a pass that is not there says nothing."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for n, step in enumerate(steps):
        first.setdefault(step.chosen.name, n)
        last[step.chosen.name] = n
    problems = []
    for step in {s.chosen.name: s.chosen for s in steps}.values():
        for other, reason in step.before.items():
            if other in first and first[step.name] > first[other]:
                problems.append(f"{step.name} must come before {other}" + (f": {reason}" if reason else ""))
        for other, reason in step.after.items():
            if other in last and last[step.name] < last[other] and first[step.name] < first[other]:
                problems.append(f"{step.name} must come after {other}" + (f": {reason}" if reason else ""))
    return problems


def insert_passes(steps: Sequence[Step], custom: Sequence[Pass]) -> list[Step]:
    """The pipeline with more passes, each as late as its `before` constraints allow; ModelError when constraints cannot hold together."""
    result = list(steps)
    for added in _mutual_order(custom):
        limits = [n for n, s in enumerate(result) if s.chosen.name in added.before]
        result.insert(min(limits, default=len(result)), Step(added))
    raise_all([ModelError(f"the pass cannot be placed: {problem}") for problem in order_problems(result)])
    return result


def _mutual_order(custom: Sequence[Pass]) -> list[Pass]:
    """Custom passes in an order that serves the constraints among them."""
    import networkx  # here, since few runs need it and importing it takes long
    by_name = {p.name: p for p in custom}
    order = networkx.DiGraph()
    order.add_nodes_from(by_name)
    order.add_edges_from((p.name, other) for p in custom for other in p.before if other in by_name)
    order.add_edges_from((other, p.name) for p in custom for other in p.after if other in by_name)
    try:
        return [by_name[name] for name in networkx.lexicographical_topological_sort(order, key=list(by_name).index)]
    except networkx.NetworkXUnfeasible:
        raise ModelError("the constraints of the given passes contradict one another: " + ", ".join(by_name)) from None


def run_pipeline(subject: Any, steps: Sequence[Step], target: Any = None, hooks: Sequence[Hook] = ()) -> Any:
    """Run the steps in order; every hook sees each step with what went in, what came out and the seconds it took.

    An error of a pass or a hook names the step it happened in.
    """
    for step in steps:
        started = time.perf_counter()
        try:
            result = step.chosen(subject, *([target] if step.chosen.takes_target else []), **step.options)
            seconds = time.perf_counter() - started
            for hook in hooks:
                hook(step, subject, result, seconds)
        except CompileError as error:
            error.notes = (*error.notes, f"in pass {step}")
            raise
        subject = result
    return subject


def verify_hook(step: Step, before: Any, after: Any, seconds: float) -> None:
    """Verify what came out; Internal lists every problem."""
    from edgec.verifier import verify
    raise_all(verify(after))


def dump_hook(folder: str | Path) -> Hook:
    """A hook that writes what came out of each step to `NN-name.edge` in a folder, large constants beside it."""
    folder, count = Path(folder), iter(range(1, 10_000))

    def dump(step: Step, before: Any, after: Any, seconds: float) -> None:
        from edgec.graph_text import save_graph
        folder.mkdir(parents=True, exist_ok=True)
        save_graph(after, folder / f"{next(count):02}-{step.chosen.name}.edge")
    return dump


def time_hook(times: list[tuple[str, float]]) -> Hook:
    """A hook that appends (step, seconds) to a list."""
    return lambda step, before, after, seconds: times.append((str(step), seconds))
