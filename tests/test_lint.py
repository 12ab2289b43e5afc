"""The code passes the linter, with the rules that pyproject.toml chooses and says why it leaves some out."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("edgec", "passes", "backends", "docs", "tests", "testdata")


def test_the_linter_finds_nothing():
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", *FOLDERS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
