"""A Python file of the user, as a module: passes of their own, operators of their own.

    module = user_module("my_ops.py", "operators", "give a Python file with classes that derive from edgec.graph.Op")

The module's name has the digest of the file in it, so what was compiled with one version is never taken for another.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from edgec.errors import CompileError, ModelError


def user_module(path: str | Path, what: str, hint: str) -> ModuleType:
    """The module of a file; ModelError says why it cannot be loaded, `what` what was wanted from it."""
    path = Path(path)
    stem = re.sub(r"[^0-9A-Za-z]", "_", path.stem)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""
    spec = importlib.util.spec_from_file_location(f"edgec_custom_{stem}_{digest}", path)
    if spec is None or spec.loader is None or not digest:
        raise ModelError(f"cannot load {what} from '{path}'" + ("" if digest else ": there is no such file"), hint=hint)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except CompileError:
        raise
    except Exception as error:  # whatever the user's file does at import
        raise ModelError(f"cannot load {what} from '{path}': {type(error).__name__}: {error}") from error
    return module
