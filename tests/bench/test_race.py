"""Runners in processes of their own: rounds go around all of them, and one that fails takes nobody with it."""

import numpy as np
import pytest

from edgec.bench.race import Lane, race
from edgec.bench.worker import Job, Lost, Worker
from edgec.bench.worker_process import timed

RUNNERS = '''
import os, signal, sys, time
import numpy as np
from edgec.bench.contestant import Contestant


def writer(path, name):
    """A runner that notes every call in a file."""
    def run():
        with open(path, "a") as file:
            file.write(name)
        return {"y": np.ones(2)}
    return Contestant(0.5, lambda arrays: {"run": run})


def echo():
    return Contestant(0.0, lambda arrays: {"run": lambda: {"y": arrays["x"] + 1}, "other": lambda: None})


def raising():
    raise ValueError("cannot read it\\nsecond line")


def crashing(calls):
    """Ends its process in the call after the given number of them."""
    left = [calls]
    def run():
        left[0] -= 1
        if left[0] < 0:
            print("about to fall", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        return {}
    return Contestant(0.0, lambda arrays: {"run": run})


def leaving():
    print("something on standard output")
    sys.exit(3)


def hanging():
    time.sleep(100)
'''


@pytest.fixture(autouse=True)
def runners(tmp_path, monkeypatch):
    """A module of fake runners that workers can import."""
    (tmp_path / "fake_runners.py").write_text(RUNNERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def job(function, *arguments):
    return Job(function, f"fake_runners:{function}", arguments)


def test_rounds_go_around_all_runners_and_each_begins_once(tmp_path):
    path = tmp_path / "order"
    lanes = race([job("writer", str(path), "a"), job("writer", str(path), "b")], {}, rounds=3, seconds=0, pause=0)
    assert [len(lane.rounds["run"]) for lane in lanes] == [3, 3] and lanes[0].report.load_seconds == 0.5
    assert path.read_text() == "ab" + "aaaabbbb" + "bbbbaaaa" + "aaaabbbb"


def test_every_function_of_a_runner_is_timed_on_the_arrays_given():
    x = np.arange(3.0)
    (lane,) = race([job("echo")], {"x": x}, rounds=2, seconds=0, pause=0)
    assert np.array_equal(lane.outputs()["y"], x + 1)
    assert {name: len(times) for name, times in lane.rounds.items()} == {"run": 2, "other": 2} and min(lane.rounds["run"]) > 0


@pytest.mark.parametrize("failing, reason", [
    (("raising",), "cannot read it"), (("crashing", 0), "crashing was ended by SIGSEGV: about to fall"),
    (("crashing", 5), "crashing was ended by SIGSEGV: about to fall"), (("leaving",), "leaving ended with status 3: something on standard output"),
    (("missing",), "module 'fake_runners' has no attribute 'missing'"),
])
def test_a_failing_runner_drops_out_with_its_reason(failing, reason, tmp_path):
    done = []
    jobs = [job(*failing), job("writer", str(tmp_path / "order"), "a")]
    lost, lane = race(jobs, {}, rounds=2, seconds=0, pause=0, progress=lambda *numbers: done.append(numbers))
    assert lost.reason == reason and lost.rounds == {}
    assert len(lane.rounds["run"]) == 2 and not lane.reason and done == [(1, 2), (2, 2)]
    with pytest.raises(Lost, match="."):
        lost.outputs()


def test_a_hanging_runner_is_ended():
    with Worker(job("hanging"), {}) as worker:
        with pytest.raises(Lost, match="hanging gave no answer within 0 s"):
            worker.ask("load", seconds=0.2)
        with pytest.raises(Lost, match="hanging was ended by SIGKILL"):
            worker.ask("load")


def test_a_worker_ends_when_it_is_closed():
    with Worker(job("echo"), {"x": np.ones(1)}) as worker:
        worker.ask("load")
        assert worker._process.poll() is None
    assert worker._process.poll() == 0


def test_a_race_of_nobody():
    assert race([], {}, rounds=2) == [] and Lane("x").rounds == {}


def test_calls_are_timed_at_least_three_times_after_one_that_does_not_count():
    calls = []
    assert len(timed(lambda: calls.append(1), 0.0)) == 3 and len(calls) == 4
