"""Writes the pages that are made from the code: every docs/make_PAGE.py has a function `page() -> str`; figures.py has the README's.

    python docs/make.py
"""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def pages() -> dict[Path, Path]:
    """The pages and the scripts that write them."""
    made = {DOCS / f"{script.stem.removeprefix('make_')}.md": script for script in sorted(DOCS.glob("make_*.py"))}
    return {**made, DOCS.parent / "README.md": DOCS / "figures.py"}


def text_of(script: Path) -> str:
    """What a script writes."""
    return runpy.run_path(str(script))["page"]()


if __name__ == "__main__":
    for path, script in pages().items():
        path.write_text(text_of(script), encoding="utf-8")
        print(path.relative_to(DOCS.parent))
