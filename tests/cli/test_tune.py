"""`edgec tune`: what it prints and writes, and that the file is used by the other commands."""

import signal
import subprocess
import sys
import time

import pytest

from edgec.schedules import read_schedules


def test_tuning_and_using_what_was_found(edgec, cache, digits, tmp_path):
    file = tmp_path / "digits.tune.edge"
    result = edgec("tune", digits, "--seconds", "0", "-O0", "-o", file)
    assert result.status == 0 and "times as fast" in result.out and f"{file}: 0 kernels were known" in result.out
    entries = read_schedules(file).entries
    assert entries and f"{len(entries)} kernels: " in result.out
    for command in (["compile", digits, "-o", tmp_path], ["verify", digits], ["profile", digits, "--seconds", "0.01"]):
        assert edgec(*command, *cache, "--schedules", file).status == 0
    again = edgec("tune", digits, "--seconds", "0", "-O0", "-o", file)
    done = sum(e.finished for e in entries.values())
    assert again.status == 0 and f"{done} kernels were known" in again.out


def test_the_file_has_the_name_of_the_model(edgec, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert edgec("tune", digits, "--seconds", "0", "-O0").status == 0
    assert (tmp_path / "digits.tune.edge").exists()


@pytest.mark.parametrize("arguments, message", [
    (["--target", "cortex-m4"], "--runner 'scp {program} board:"), (["--target", "z80"], "unknown target 'z80'"),
    (["--runner", "ssh board"], "write {program} there"),
])
def test_what_cannot_be_tuned_is_told(edgec, digits, tmp_path, arguments, message):
    result = edgec("tune", digits, "--seconds", "0", "-o", tmp_path / "f", *arguments)
    assert result.status == 1 and message in result.err and not (tmp_path / "f").exists()


@pytest.mark.parametrize("text, message", [("nonsense", "f:1: this is neither a kernel nor a schedule"), (None, "cannot read the file")])
def test_a_wrong_file_is_told(edgec, cache, digits, tmp_path, text, message):
    if text:
        (tmp_path / "f").write_text(text)
    result = edgec("compile", digits, "-o", tmp_path / "out", "--schedules", tmp_path / "f", *cache)
    assert result.status == 1 and message in result.err and not (tmp_path / "out").exists()


def test_a_run_that_is_killed_is_gone_on_with(edgec, digits, tmp_path):
    """Every finished kernel is in the file, whole, whenever the run ends."""
    file = tmp_path / "digits.tune.edge"
    command = [sys.executable, "-m", "edgec", "tune", digits, "--seconds", "600", "-O0", "-o", file]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not file.exists():
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    known = read_schedules(file).entries
    assert known
    again = edgec("tune", digits, "--seconds", "0", "-O0", "-o", file)
    assert again.status == 0 and f"{sum(e.finished for e in known.values())} kernels were known" in again.out
    assert known.keys() <= read_schedules(file).entries.keys()


@pytest.mark.parametrize("change, message", [
    (lambda text: text.replace("\n  ", "\n  vector i9 16 ", 1), "run `edgec tune` again"),
    (lambda text: text[:text.index("kernel ") + 20], "this is neither a kernel nor a schedule"),
    (lambda text: text.replace(" us, ", " ms, ", 1), "this is neither a kernel nor a schedule"),
], ids=["another kernel's axis", "cut off", "another unit"])
def test_a_file_that_was_changed_by_hand_is_told(edgec, cache, digits, tmp_path, change, message):
    file = tmp_path / "f"
    assert edgec("tune", digits, "--seconds", "0", "-O0", "-o", file).status == 0
    file.write_text(change(file.read_text()))
    result = edgec("compile", digits, "-o", tmp_path / "out", "--schedules", file, *cache)
    assert result.status == 1 and message in result.err and not (tmp_path / "out").exists()
