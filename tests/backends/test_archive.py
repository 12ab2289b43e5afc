"""Static libraries: the system's ar lists them, linkers find symbols through the table, long names survive."""
import shutil
import subprocess

import pytest

from edgec.backends.archive import archive
from edgec.backends.target import all_targets

HOST = next(target for target in all_targets() if target.seen)


def require(tool: str):
    if not shutil.which(tool):
        pytest.skip(f"{tool} not installed")


def test_members_come_out_as_they_went_in(tmp_path):
    require("ar")
    members = {"short.o": b"odd", "a_rather_long_member_name.o": b"even", "another_rather_long_name.o": b""}
    (tmp_path / "lib.a").write_bytes(archive([(name, data, ()) for name, data in members.items()]))
    assert subprocess.run(["ar", "t", "lib.a"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split() == list(members)
    for name, data in members.items():
        assert subprocess.run(["ar", "p", "lib.a", name], cwd=tmp_path, capture_output=True, check=True).stdout == data


def test_linker_takes_only_the_members_it_needs(tmp_path, models):
    require("gcc")
    objects = {name: models.compile_part(HOST, f"define i32 @{name}() nounwind {{\n ret i32 {value}\n}}")
               for name, value in (("first", 3), ("second", 4))}
    (tmp_path / "lib.a").write_bytes(archive([(f"a_long_name_for_{name}.o", obj, [name]) for name, obj in objects.items()]))
    (tmp_path / "main.c").write_text("int second(void); int main(void) { return second(); }\n")
    subprocess.run(["gcc", "main.c", "lib.a", "-o", "program"], cwd=tmp_path, check=True)
    assert subprocess.run(["./program"], cwd=tmp_path).returncode == 4
    assert b"first\0" not in (tmp_path / "program").read_bytes()
