"""List the operators edgec knows, and how each is compiled.

edgec ops
"""

from __future__ import annotations

import argparse

from edgec.cli.text_table import text_table

name, help = "ops", "list the operators edgec knows"

WAYS = (
    ("lower", "index formula"),
    ("update", "update"),
    ("decompose", "simpler operators"),
    ("recurrence", "repeated kernels"),
    ("alternatives", "conditional kernels"),
    ("loops", "loops"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(arguments: argparse.Namespace) -> int:
    import inspect

    from edgec.ops import OPERATORS

    rows = [
        [cls.__name__, domain or "ai.onnx", _way(cls), (inspect.getdoc(cls) or "").split("\n")[0]]
        for (domain, _), cls in sorted(OPERATORS.items())
    ]
    print(text_table(["operator", "domain", "compiled by", "meaning"], rows))
    print(f"\n{len(rows)} operators")
    return 0


def _way(cls: type) -> str:
    return next((text for attribute, text in WAYS if hasattr(cls, attribute)), "interpreter only")
