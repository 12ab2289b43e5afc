"""Every operator, one file per family. `OPERATORS` finds a class by (domain, ONNX name); the files register nothing by themselves:
this table is built by looking at the modules of this folder. A class that says `abstract = True` is only a base of others.

    from edgec.ops import OPERATORS;  OPERATORS["", "Relu"]
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from edgec.graph import Constant, Input, Op


def _collect() -> dict[tuple[str, str], type[Op]]:
    found: dict[tuple[str, str], type[Op]] = {}
    for module in pkgutil.iter_modules(__path__):
        for name, item in vars(importlib.import_module(f"{__name__}.{module.name}")).items():
            if isinstance(item, type) and issubclass(item, Op) and item not in (Op, Input, Constant) and not name.startswith("_"):
                if item.__module__ == f"{__name__}.{module.name}" and not vars(item).get("abstract"):
                    found[item.domain, item.__name__] = item
    return found


Operators = Mapping[tuple[str, str], type[Op]]  # by domain and name
OPERATORS: dict[tuple[str, str], type[Op]] = _collect()
