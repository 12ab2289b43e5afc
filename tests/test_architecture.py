"""The architecture: who may import whom, which names stand where, how large files are, and what must be documented."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from edgec.backends.target import all_targets

ROOT = Path(__file__).parent.parent
FOLDERS = ("edgec", "passes", "backends")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# The top of edgec: it uses passes and backends; everything below must do without them.
TOP = ("__main__", "cli", "compiler", "emission", "routine", "compiled_texts", "verification", "bench", "machine_peak", "tune",
       "profile", "profile_page", "memory_speed", "tune_worker", "candidate_timing", "schedules", "edge_commands", "testing", "quantize",
       "compile_problems", "model_problems", "program_ports", "several_shapes", "kernels_alike")
# Imported inside a function, when a command asks for it: the commands of text tests that go through the compiler.
LAZY = {("edgec.edge_file", "edge_commands")}
LINES, LONG = 450, 140


def name_of(path: Path) -> str:
    """The name a file is imported by: passes/ and backends/ are installed within edgec."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    dotted = ".".join(parts if parts[0] == "edgec" else ("edgec", *parts))
    return dotted.removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module a file imports, inside functions too, by its full name."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_top(name: str) -> bool:
    return name.partition(".")[2].partition(".")[0] in TOP


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_layers_import_downwards_only(path):
    name, used = name_of(path), imports(path)
    if name.startswith("edgec.passes"):
        forbidden = [m for m in used if m.startswith(("edgec.compiler", "edgec.cli"))]
        if not is_graph_pass(path):
            forbidden += [m for m in used if m.startswith("edgec.ops")]
    elif name.startswith("edgec.backends"):
        above = ("edgec.passes", "edgec.ops", "edgec.graph", "edgec.kernel", "edgec.compiler", "edgec.cli")
        forbidden = [m for m in used if m.startswith(above)]
    elif name == "edgec" or is_top(name):
        forbidden = []
    else:
        forbidden = [m for m in used if m.startswith(("edgec.passes", "edgec.backends")) or is_top(m)]
        forbidden = [m for m in forbidden if (name, m.partition("edgec.")[2].partition(".")[0]) not in LAZY]
    assert not forbidden


def is_graph_pass(path: Path) -> bool:
    """Passes over graphs may know operators; what comes after fusing may not."""
    if path.stem.startswith("rules_") or path.stem in ("fold_constants", "simplify", "decompose", "quantize"):
        return True
    used = imports(path)
    return not used & {"edgec.kernel", "edgec.passes.nest"} and bool(used & {"edgec.rewrite", "edgec.pipeline"})


@pytest.mark.parametrize("stem", ["fuse", "normalize", "layout", "views", "stages", "liveness", "nest", "schedule", "pack", "points", "rows",
                                  "tile", "reductions", "winograd", "explain", "legal", "schedule_text", "candidates",
                                  "pack_operands", "sequences", "there_and_back"])
def test_passes_below_the_graph_know_no_operator(stem):
    """They see axes, reads and strides; no name of an operator stands in their code."""
    from edgec.ops import OPERATORS
    path = ROOT / "passes" / f"{stem}.py"
    assert not is_graph_pass(path)
    assert not literals(path) & {name for _, name in OPERATORS}


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=by_name)
def test_nobody_imports_the_folders_by_their_own_names(path):
    """`import passes` would be a second copy of every registry."""
    assert not [m for m in imports(path) if m.split(".")[0] in ("passes", "backends")]


@pytest.mark.parametrize("path", [p for p in FILES if "targets" not in p.parts], ids=by_name)
def test_no_code_knows_a_target_by_name(path):
    """Names of targets stand in the files that describe them; elsewhere in help texts at most."""
    names = {target.name for target in all_targets()} - {"native"}
    code = literals(path) - docstrings(path)
    if path.is_relative_to(ROOT / "edgec" / "cli"):
        code = {text for text in code if " " not in text}  # help
    assert not {text for text in code if text in names}


@pytest.mark.parametrize("path", [p for p in FILES if "targets" not in p.parts], ids=by_name)
def test_no_code_compares_the_name_of_a_target(path):
    """`target.name == ...` would be a branch that a description cannot reach."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                assert not (isinstance(side, ast.Attribute) and side.attr in ("triple", "cpu")
                            and any(isinstance(other, ast.Constant) for other in (node.left, *node.comparators)))


def literals(path: Path) -> set[str]:
    return {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def docstrings(path: Path) -> set[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.body[0].value.value for node in ast.walk(tree(path)) if isinstance(node, kinds) and ast.get_docstring(node) is not None}


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_every_file_says_what_it_is(path):
    text = ast.get_docstring(tree(path))
    assert text and len(text.splitlines()) <= 24


PROTOCOL = {("cli", "run"), ("cli", "add_arguments")}  # what every command has, described once in edgec.cli


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_public_functions_and_classes_say_what_they_are(path):
    """Methods of two lines, and those that only fill in what a base class documents, may go without."""
    missing = [node.name for node in tree(path).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
               and ast.get_docstring(node) is None and node.end_lineno - node.lineno > 5 and (path.parent.name, node.name) not in PROTOCOL]
    assert not missing


@pytest.mark.parametrize("path", [p for folder in (*FOLDERS, "tests") for p in sorted((ROOT / folder).rglob("*.py"))], ids=by_name)
def test_files_are_rooms_not_halls(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LINES
    assert "tests" in path.parts or not [n for n, line in enumerate(lines, 1) if len(line) > LONG]


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_nothing_is_left_to_do(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError", text)


def test_installed_packages_are_the_folders():
    """A module that lies in edgec/passes or edgec/backends would hide the mapped folders."""
    assert not (ROOT / "edgec" / "passes").exists() and not (ROOT / "edgec" / "backends").exists()
    import edgec.backends
    import edgec.passes
    assert Path(edgec.passes.__file__).parent == ROOT / "passes" and Path(edgec.backends.__file__).parent == ROOT / "backends"


def test_no_state_is_global():
    """Module-level names are constants, tables and caches; nothing is rebound at run time."""
    rebinding = [by_name(path) for path in FILES if any(isinstance(node, ast.Global) for node in ast.walk(tree(path)))]
    assert not rebinding


def test_no_environment_variable_is_read():
    allowed = {"PATH", "HOME", "XDG_CACHE_HOME"}
    for path in FILES:
        found = set(re.findall(r"os\.(?:environ(?:\.get)?|getenv)[\[(]\s*[\"'](\w+)", path.read_text(encoding="utf-8")))
        assert found <= allowed, by_name(path)
