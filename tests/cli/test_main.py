"""The command line as a whole: help, version, unknown commands, errors in one message."""

import subprocess
import sys

import pytest

import edgec as package
from edgec.cli import commands, main


def test_version(edgec):
    result = edgec("--version")
    assert (result.status, result.out) == (0, f"edgec {package.__version__}\n")


def test_help_names_every_command(edgec):
    result = edgec("--help")
    assert result.status == 0
    assert {"compile", "run", "show", "verify", "check", "targets", "passes", "ops", "bench", "profile", "tune"} <= {c.name for c in commands()}
    for command in commands():
        assert f"    {command.name} " in result.out and command.help in result.out


@pytest.mark.parametrize("command", [c.name for c in commands()])
def test_every_command_has_help(edgec, command):
    result = edgec(command, "--help")
    assert result.status == 0 and f"usage: edgec {command}" in result.out and f"edgec {command}" in result.out.split("\n\n", 1)[1]


@pytest.mark.parametrize("argv", [[], ["frob"], ["compile"], ["compile", "m.onnx", "-O9"], ["show", "--tex", "graph", "m.onnx"], ["bench", "--rounds", "0"]])
def test_a_wrong_command_line_is_status_2(edgec, argv):
    result = edgec(*argv)
    assert result.status == 2 and "error: " in result.err


def test_the_module_runs_too():
    done = subprocess.run([sys.executable, "-m", "edgec", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"edgec {package.__version__}\n")


@pytest.mark.parametrize("command", ["compile", "run", "show", "verify", "check", "bench", "profile", "tune"])
def test_a_missing_model_is_one_line(edgec, command, tmp_path):
    result = edgec(command, tmp_path / "none.onnx")
    assert result.status == 1
    assert result.err == f"error: {tmp_path}/none.onnx: cannot read the file: No such file or directory\n"


@pytest.mark.parametrize("command", ["compile", "run", "show", "verify", "check"])
def test_a_broken_model_is_told(edgec, command, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x99 nothing of the kind")
    result = edgec(command, tmp_path / "bad.onnx")
    assert result.status == 1 and result.err.startswith(f"error: {tmp_path}/bad.onnx: ")


@pytest.mark.parametrize("command", ["compile", "run", "show", "verify", "check", "bench", "profile", "tune"])
def test_open_dimensions_are_asked_for(edgec, command, digits_dyn):
    result = edgec(command, digits_dyn)
    assert result.status == 1 and "--bind N=1" in result.err


@pytest.mark.parametrize("option", [["--bind", "N"], ["--bind", "M=1"], ["--bind", "N=x"], ["--shape", "image"], ["--bind", "N=1", "--bind", "N=2"]])
def test_wrong_sizes_are_told(edgec, digits_dyn, option):
    result = edgec("show", digits_dyn, *option)
    assert result.status == 1 and result.err.startswith("error: ")


@pytest.mark.parametrize("command", ["compile", "run", "verify", "check", "bench", "profile", "tune"])
def test_an_unknown_target_is_told(edgec, command, digits, samples):
    extra = ["--inputs", samples[0]] if command in ("run", "verify") else []
    result = edgec(command, digits, "--target", "z80", *extra)
    assert result.status == 1 and "error: unknown target 'z80'" in result.err and result.err.count("\n") == 1


def test_system_errors_are_one_line(edgec, monkeypatch):
    def fail(arguments):
        raise PermissionError(13, "Permission denied", "/some/where")
    monkeypatch.setattr("edgec.cli.ops.run", fail)
    result = edgec("ops")
    assert (result.status, result.err) == (1, "error: /some/where: Permission denied\n")


@pytest.mark.parametrize("error, status", [(KeyboardInterrupt(), 130), (MemoryError(), 1)])
def test_what_ends_a_command_early(edgec, monkeypatch, error, status):
    def fail(arguments):
        raise error
    monkeypatch.setattr("edgec.cli.ops.run", fail)
    assert edgec("ops").status == status


def test_a_closed_pipe_is_no_error_message():
    command = f"{sys.executable} -m edgec ops | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith("operator") and done.stderr == ""


def test_main_takes_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["edgec", "--version"])
    assert main() == 0 and capsys.readouterr().out.startswith("edgec ")
