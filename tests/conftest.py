"""Collects the `.edge` text tests (see edgec.edge_file); `pytest --bless` rewrites their expectations."""

import pytest
from hypothesis import settings

from edgec.edge_file import actual

settings.register_profile("edgec", deadline=None)  # a busy machine is no failure
settings.load_profile("edgec")


def pytest_addoption(parser):
    parser.addoption("--bless", action="store_true", help="rewrite the expected text of .edge files")


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
