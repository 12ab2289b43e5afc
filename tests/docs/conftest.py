"""Runs the code blocks of a Markdown page, in order, in a folder of their own that sees testdata/ and backends/.

    python     executed, all blocks of a page in one namespace      pycon      a session, its output compared
    console    `$ command` lines, what follows compared             c          compiled with warnings as errors

A block whose first line is a comment with nothing but a file name (`# soften.py`, `/* main.c */`) is written to that file and nothing more.
In expected output `...` stands for any text, and a command without any is only asked to succeed.
"""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgec.cli import main

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|//|/\*) ([\w./-]+\.\w+)(?: \*/)?")
COMPILING = ("compile", "run", "verify", "check")


@dataclass
class Page:
    """One page and the folder its blocks run in."""

    path: Path
    folder: Path
    cache: Path
    capsys: object
    names: dict = field(default_factory=lambda: {"__name__": "page"})

    def run(self):
        """Run every block; what fails says where the block stands."""
        text = self.path.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            language, code = found.groups()
            name = FILE.fullmatch(code.split("\n")[0])
            place = f"{self.path.name}:{text.count(chr(10), 0, found.start()) + 2}"
            if name:
                (self.folder / name[1]).write_text(code)
            elif language in ("python", "pycon", "console", "c"):
                getattr(self, language)(code, place)

    def python(self, code, place):
        exec(compile(code, place, "exec"), self.names)

    def pycon(self, code, place):
        test = doctest.DocTest(list(examples(code)), self.names, place, str(self.path), 0, code)
        report: list[str] = []
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False).failed
        self.names.update(test.globs)
        assert not failed, "".join(report)

    def c(self, code, place):
        compiler = shutil.which("gcc") or pytest.skip("no gcc installed")
        (self.folder / "block.c").write_text(code)
        command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", "build", "-c", "block.c"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{place}\n{done.stderr}"

    def console(self, code, place):
        for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
            command, _, expected = part.replace("\\\n", " ").partition("\n")
            status, out = self.command(command)
            if expected.strip():
                same = doctest.OutputChecker().check_output(expected.rstrip() + "\n", out.rstrip() + "\n", FLAGS)
                assert same, f"{place}: $ {command}\nexpected:\n{expected}\ngot:\n{out}"
                assert status in (0, 1), f"{place}: $ {command}\n{out}"
            else:
                assert status == 0, f"{place}: $ {command}\n{out}"

    def command(self, line):
        """(status, output) of a command line; `edgec` runs in this process, with kernels from a cache that all pages share."""
        words = shlex.split(line, comments=True)
        if words[0] == "edgec" and not {"|", ">", "&&"} & set(words):
            self.capsys.readouterr()
            status = main([*words[1:], *(["--cache", str(self.cache), "--workers", "0"] if words[1] in COMPILING else [])])
            printed = self.capsys.readouterr()
            return status, printed.err + printed.out
        if not shutil.which(words[0]):
            pytest.skip(f"no {words[0]} installed")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                              env={**os.environ, "PATH": path})
        return done.returncode, done.stderr + done.stdout


def examples(code):
    """The examples of a session; unlike doctest's own parser, it lets output have blank lines."""
    for part in re.split(r"^>>> ", code, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        goes_on = len(lines) > 1 and lines[1].startswith("... ")  # else a "..." stands for any output
        count = next(n for n in range(1, len(lines)) if not (goes_on and lines[n].startswith("...")))
        source = "\n".join([lines[0], *(line[4:] for line in lines[1:count])])
        yield doctest.Example(source + "\n", "\n".join(lines[count:]))


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """A cache of compiled kernels."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def page(tmp_path, kernels, capsys, monkeypatch):
    """page("docs/embedding.md"): the page, its folder being the current one."""
    for name in ("testdata", "backends"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return lambda name: Page(ROOT / name, tmp_path, kernels, capsys)
