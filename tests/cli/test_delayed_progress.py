"""The spinner: nothing unless standard error is a terminal and two seconds have passed."""

import io
import sys
import time

import pytest

from edgec.cli.delayed_progress import DELAY, delayed_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream, delay, shown", [(Terminal, 0.0, True), (Terminal, 60.0, False), (io.StringIO, 0.0, False)])
def test_the_spinner(monkeypatch, stream, delay, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    with delayed_progress("compiling", delay) as report:
        end = time.monotonic() + 5
        while shown and "compiling" not in sys.stderr.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
        report(1, 3)
    assert ("compiling" in sys.stderr.getvalue()) == shown


def test_errors_pass_through(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ValueError, match="wrong"):
        with delayed_progress("compiling"):
            raise ValueError("wrong")
    assert DELAY == 2 and "compiling" not in sys.stderr.getvalue()
