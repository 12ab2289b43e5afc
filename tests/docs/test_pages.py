"""Every page: its code blocks work, its links lead somewhere, its lines fit."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
WRITTEN = [path for path in PAGES if "written by docs/make_" not in path.read_text()]     # the others show code that is not theirs to run
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("name", names(p for p in WRITTEN if re.search("^```(c|py)", p.read_text(), re.MULTILINE)))
def test_code_blocks_work(name, page):
    page(name).run()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lines_fit(path):
    wide = [line for line in path.read_text().splitlines() if len(line) > 140 and not line.startswith("|")]
    assert wide == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in LINK.findall(FENCED.sub("", path.read_text())):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def anchors(path):
    """What headings are called in links: lower case, hyphens for spaces, punctuation dropped."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index


def test_every_page_is_generated_or_written():
    for script in (ROOT / "docs").glob("make_*.py"):
        page = ROOT / "docs" / f"{script.stem.removeprefix('make_')}.md"
        assert f"docs/{script.name}" in page.read_text()
