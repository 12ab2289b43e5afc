"""The README names what there is: every command of the command line and of the Makefile, and no other. Its code is run by test_pages."""

import re
from pathlib import Path

from edgec.cli import commands

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_every_command_is_there():
    assert set(re.findall(r"`edgec ([a-z]+)", README)) == {command.name for command in commands()}


def test_make_commands_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    mentioned = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    assert {"demo", "test"} <= mentioned <= set(targets)


def test_folders_exist():
    for folder in re.findall(r"^\| `([\w/]+)/` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
