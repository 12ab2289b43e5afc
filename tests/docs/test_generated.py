"""Pages made from the code say what the code says today; `pytest --bless` or `make docs` writes them anew."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MAKE = runpy.run_path(str(DOCS / "make.py"))
PAGES = MAKE["pages"]()


def test_there_are_pages():
    assert {path.name for path in PAGES} == {"README.md", "operators.md", "passes.md", "targets.md", "tflite.md", "tour.md"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_is_up_to_date(path, request):
    found = MAKE["text_of"](PAGES[path])
    if request.config.getoption("--bless"):
        path.write_text(found, encoding="utf-8")
    else:
        assert found.splitlines() == path.read_text(encoding="utf-8").splitlines(), "make docs"
