"""Operators that the user writes in Python: the classes of a file, checked, as a table beside edgec's own.

    load("model.onnx", ops=["my_ops.py"])                      # reads with known_operators(["my_ops.py"])

A class says what one of edgec's says (docs/custom-operators.md); nothing is registered, the table goes to the reader. What goes wrong in
its methods is an error at the node, not a traceback.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from edgec.c_functions import CFunction
from edgec.errors import CompileError, ModelError, raise_all
from edgec.graph import Constant, Input, Op
from edgec.ops import OPERATORS, Operators
from edgec.user_module import user_module

WAYS = ("lower", "decompose")
HINT = "give a Python file with classes that derive from edgec.graph.Op"


def known_operators(files: Sequence[str | Path]) -> Operators:
    """Edgec's operators and those of the files, by domain and name; ModelError for a file or class that will not do, all at once."""
    found: dict[tuple[str, str], type[Op]] = dict(OPERATORS)
    problems: list[CompileError] = []
    for file in files:
        for cls in operators_of(file):
            key = (cls.domain, cls.__name__)
            problems += [ModelError(problem, hint=hint) for problem, hint in _problems(cls, file, key in found)]
            found[key] = cls
    raise_all(problems)
    return found


def operators_of(file: str | Path) -> list[type[Op]]:
    """The operator classes that a file defines, in its order, their methods guarded; private names and `abstract = True` are bases."""
    module = user_module(file, "operators", HINT)
    found = [item for name, item in vars(module).items() if isinstance(item, type) and issubclass(item, Op)
             and item not in (Op, Input, Constant, CFunction) and item.__module__ == module.__name__ and name == item.__name__
             and not name.startswith("_") and not vars(item).get("abstract")]
    if not found:
        raise ModelError(f"'{file}' defines no operator", hint=HINT)
    for cls in found:
        for name in ("infer", "reference", *WAYS):
            if callable(getattr(cls, name, None)) and getattr(cls, name) is not getattr(Op, name, None):
                setattr(cls, name, _guarded(getattr(cls, name), file))
    return found


def _problems(cls: type[Op], file: str | Path, known: bool) -> list[tuple[str, str]]:
    """What is wrong with a class: (message, hint)."""
    place, shown = f"operator {cls.__name__} of '{file}'", f"{cls.domain or 'ai.onnx'}.{cls.__name__}"
    found = [(f"{place} has no {name}", hint) for name, missing, hint in (
        ("infer", cls.infer is Op.infer, "write infer(self): the type of the result, or a tuple of types"),
        ("reference", not hasattr(cls, "reference"), "write reference(self, *arrays): the result in numpy"),
        ("symbol", issubclass(cls, CFunction) and not cls.symbol, 'write symbol = "my_function", the C function to call'),
        ("lower or decompose", not any(hasattr(cls, way) for way in WAYS),
         "write lower(self, at, *operands): the element at an index, or decompose(self): the result made of other operators"))
        if missing]
    if known:
        found.append((f"{place} clashes: there is an operator {shown} already", "give it another name, or a domain of your own"))
    elif not cls.domain:
        found.append((f"{place} has no domain", 'write domain = "com.example", the domain of its nodes'))
    return found


def _guarded(method: Callable[..., Any], file: str | Path) -> Callable[..., Any]:
    """A method whose unforeseen exceptions are errors with the place of the node and the line of the file."""
    @wraps(method)
    def call(self: Op, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except CompileError:
            raise
        except Exception as error:  # whatever the user's method does
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == os.path.abspath(file)]
            where = f"line {lines[-1]} of '{file}'" if lines else f"'{file}'"
            loc = self.loc if "results" in vars(self) else getattr(self, "_pending_loc", None)
            raise ModelError(f"{method.__name__} of {type(self).__name__} failed at {where}: {type(error).__name__}: {error}",
                             loc=loc) from error
    return call
