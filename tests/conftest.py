"""Collects the `.edge` text tests (see edgec.edge_file), whose expectations `pytest --bless` rewrites, and sets how hypothesis draws.

A normal run draws the same few examples every time; `pytest --long` draws many new ones.
"""

import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from edgec.edge_file import actual

# A busy machine is no failure, and drawing a graph that is worth compiling takes a while.
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]}
settings.register_profile("edgec", derandomize=True, **QUIET)
settings.register_profile("long", max_examples=2000, print_blob=True, **QUIET)


def pytest_addoption(parser):
    parser.addoption("--bless", action="store_true", help="rewrite the expected text of .edge files")
    parser.addoption("--long", action="store_true", help="draw many new examples for property tests")


def pytest_configure(config):
    settings.load_profile("long" if config.getoption("--long") else "edgec")


@pytest.fixture
def calls_of() -> Callable[[Callable[[], object]], int]:
    """How many calls of Python functions a function makes, as `calls_of(function)`: its work, whatever the machine and its load."""
    def counted(function: Callable[[], object]) -> int:
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event == "call"
        sys.setprofile(count)
        try:
            function()
        finally:
            sys.setprofile(None)
        return calls
    return counted


def pytest_collect_file(parent, file_path):
    return EdgeFile.from_parent(parent, path=file_path) if file_path.suffix == ".edge" else None


class EdgeFile(pytest.File):
    """One `.edge` file, which is one test."""

    def collect(self):
        yield EdgeTest.from_parent(self, name=self.path.stem)


class EdgeTest(pytest.Item):
    """The file's text must be what its command gives."""

    def runtest(self):
        expected, found = self.path.read_text(encoding="utf-8"), actual(self.path)
        if self.config.getoption("--bless"):
            self.path.write_text(found, encoding="utf-8")
        else:
            assert found.splitlines() == expected.splitlines()

    def reportinfo(self):
        return self.path, 0, f"edge file {self.name}"
