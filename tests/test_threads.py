"""Models on executors of every kind compute the same bits as in one thread, and refuse executors that are none."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest

from edgec.backends.interface import BAD_EXECUTOR, OK, ExecutorLayout
from edgec.backends.native import Loaded
from edgec.backends.pool import Pool
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.errors import Internal
from edgec.testing.graphs import normal_inputs, random_graph, random_integer_graph

NATIVE = find("native")
EAGER = replace(NATIVE, hand_over=1)  # everything that can be shared is
BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
PARALLEL_FOR_ALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
REST = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
PARALLEL_FOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)


class Struct(ctypes.Structure):
    """edgec_executor of the header."""

    _fields_ = [("size", ctypes.c_uint32), ("context", ctypes.c_void_p), ("slots", ctypes.c_uint32), ("parallel_for", PARALLEL_FOR)]


class Executor:
    """An executor in Python: `order(count)` gives (index, slot) pairs, run one after the other, or each slot's in a thread of its own."""

    def __init__(self, slots, order, threads=False):
        self.order, self.threads, self.slots, self.regions = order, threads, slots, 0
        self.struct = Struct(ctypes.sizeof(Struct), 0x5EED, slots, PARALLEL_FOR(self.run))
        self.address = ctypes.addressof(self.struct)

    def run(self, context, body, argument, count):
        assert context == 0x5EED and count > 1
        self.regions += 1
        calls = self.order(count)
        if not self.threads:
            for index, slot in calls:
                BODY(body)(argument, index, slot)
            return

        def mine(slot):
            for index, _ in (call for call in calls if call[1] == slot):
                BODY(body)(argument, index, slot)
        started = [threading.Thread(target=mine, args=(slot,)) for slot in range(self.slots)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()


class WholeStruct(ctypes.Structure):
    """edgec_executor with all members."""

    _fields_ = [*Struct._fields_, ("together", PARALLEL_FOR_ALL), ("rest", REST)]


class Team:
    """An executor whose threads run together, `count` of its `slots`; each waits a moment of its own before it begins."""

    def __init__(self, slots, count=None, rest=True):
        self.slots, self.count, self.calls, self.handed = slots, count or slots, 0, 0
        resting = REST(lambda context: time.sleep(0)) if rest else REST(0)
        self.struct = WholeStruct(ctypes.sizeof(WholeStruct), 0x5EED, slots, PARALLEL_FOR(self.one_by_one), PARALLEL_FOR_ALL(self.run),
                                  resting)
        self.address = ctypes.addressof(self.struct)

    def one_by_one(self, context, body, argument, count):
        """Regions of models with conditions: their threads cannot run ahead of what decides a condition."""
        assert context == 0x5EED and not self.calls
        self.handed += 1
        for index in range(count):
            BODY(body)(argument, index, 0)

    def run(self, context, body, argument):
        assert context == 0x5EED
        self.calls += 1

        def mine(index):
            time.sleep(Random(index).random() / 1000)
            BODY(body)(argument, index, self.count)
        started = [threading.Thread(target=mine, args=(index,)) for index in range(self.count)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()


class Unreliable(Team):
    """Threads that come when they like: `script(index, begun, ended)` calls begin(index) as often as it likes until `ended` is set."""

    def __init__(self, slots, script):
        super().__init__(slots)
        self.script = script

    def run(self, context, body, argument):
        self.calls += 1
        ended = threading.Event()
        started = [threading.Thread(target=self.script, args=(lambda i=i: BODY(body)(argument, i, self.count), i, ended))
                   for i in range(1, self.count)]
        for thread in started:
            thread.start()
        BODY(body)(argument, 0, self.count)
        ended.set()
        for thread in started:
            thread.join()


def never(enter, index, ended):
    pass


def again_and_again(enter, index, ended):
    while not ended.is_set():
        enter()


def late(enter, index, ended):
    ended.wait()
    enter()


def now_and_then(enter, index, ended):
    random = Random(index)
    while not ended.wait(random.random() / 2000):
        enter()


def some_of_them(enter, index, ended):
    if index % 2:
        again_and_again(enter, index, ended)


UNRELIABLE = (never, again_and_again, late, now_and_then, some_of_them)


def backwards(count):
    return [(index, 0) for index in reversed(range(count))]


def shuffled(slots):
    def order(count):
        indices = list(range(count))
        Random(count).shuffle(indices)
        return [(index, Random(index).randrange(slots)) for index in indices]
    return order


EXECUTORS = {"backwards": lambda: Executor(1, backwards), "many slots": lambda: Executor(11, shuffled(11)),
             "threads": lambda: Executor(5, shuffled(5), threads=True)}


TEAMS = (lambda: Team(1), lambda: Team(2), lambda: Team(7, 3, rest=False), lambda: Team(5), lambda: Team(40),
         *(lambda script=script: Unreliable(4, script) for script in (never, again_and_again)))


def compiled(graph, target=EAGER, **options):
    return emit(lower(optimise_graph(graph, target), target), target, "net", workers=0, **options)


def check(artifact, arrays, executors=EXECUTORS, conditions=False):
    """The same bits from every executor as without one; gives how many regions a call has. Threads run together but for `conditions`."""
    with Loaded(artifact.object, artifact.interface) as alone:
        expected = alone.run(arrays)
    counts = set()
    for name, make in executors.items():
        executor = make()
        with Loaded(artifact.object, artifact.interface, pool=executor) as lent:
            found = lent.run(arrays)
        for port, array in expected.items():
            assert array.tobytes() == found[port].tobytes(), (name, port)
        counts.add(executor.regions)
    for make in TEAMS:
        team = make()
        with Loaded(artifact.object, artifact.interface, pool=team) as lent:
            found = lent.run(arrays)
        for port, array in expected.items():
            assert array.tobytes() == found[port].tobytes(), (team.slots, team.count, port)
        assert (team.handed if conditions else team.calls) or not counts - {0}
        assert not (team.calls if conditions else team.handed)
    assert len(counts) == 1
    return counts.pop()


@pytest.mark.parametrize("seed", range(24))
def test_every_executor_computes_the_same_bits(seed):
    random = Random(900 + seed)
    graph = random_integer_graph(random, 6) if seed % 4 == 3 else random_graph(random, 6, symbolic=seed % 4 == 2)
    program = lower(optimise_graph(graph, EAGER), EAGER)
    conditions = any(axis.condition is not None for kernel in program.steps for axis in kernel.repeat)
    check(compiled(graph, optimize="1"), normal_inputs(graph, seed=seed), conditions=conditions)


NETS = {
    "scratch of every slot": """graph g(%x: f32[40,300]) -> (%y) {
      @s: f32[300]
      %a = Softmax(%x) axis=1 : f32[40,300]
      %y = LayerNormalization(%a, @s) axis=1 : f32[40,300]
    }""",
    "a chain of products": """graph g(%x: f32[33,40]) -> (%y) {
      @u: f32[40,70]
      @v: f32[70,50]
      %a = MatMul(%x, @u) : f32[33,70]
      %b = Relu(%a) : f32[33,70]
      %y = MatMul(%b, @v) : f32[33,50]
    }""",
    "convolutions": """graph g(%x: f32[1,16,24,24]) -> (%y) {
      @u: f32[32,16,3,3]
      @v: f32[48,32,1,1]
      %a = Conv(%x, @u) pads=[1,1,1,1] : f32[1,32,24,24]
      %b = Relu(%a) : f32[1,32,24,24]
      %y = Conv(%b, @v) : f32[1,48,24,24]
    }""",
    "a recurrence": """graph g(%x: f32[9,2,20]) -> (%y) {
      @w: f32[1,96,20]
      @r: f32[1,96,24]
      @b: f32[1,192]
      %y = LSTM(%x, @w, @r, @b) hidden_size=24 : f32[9,1,2,24]
    }""",
    "steps that go there and back": """graph g(%x: f32[7,1,20]) -> (%y) {
      @w: f32[1,512,20]
      @r: f32[1,512,128]
      @b: f32[1,1024]
      %y = LSTM(%x, @w, @r, @b) hidden_size=128 : f32[7,1,1,128]
    }""",
    "an open size": """graph g(%x: f32[n<=9,60]) -> (%y) {
      @w: f32[60,90]
      %a = MatMul(%x, @w) : f32[n,90]
      %y = Softmax(%a) axis=1 : f32[n,90]
    }""",
}


@pytest.mark.parametrize("name", NETS)
def test_nets(name):
    graph = read_graph(NETS[name], "test")
    artifact = compiled(graph)
    for size in (1, 4, 9) if name == "an open size" else (3,):
        assert check(artifact, normal_inputs(graph, size=size)) > 0
    assert artifact.interface.slot_bytes > 0 or name != "scratch of every slot"


@pytest.mark.parametrize("threads", [2, 3, 4, 9])
def test_the_pool_computes_the_same_bits_again_and_again(threads):
    graph = read_graph(NETS["scratch of every slot"], "test")
    artifact = compiled(graph)
    with Loaded(artifact.object, artifact.interface) as alone, artifact.load(threads) as lent:
        for seed in range(30):
            arrays = normal_inputs(graph, seed=seed)
            assert alone.run(arrays)["y"].tobytes() == lent.run(arrays)["y"].tobytes()
    assert artifact.run(arrays, threads=threads)["y"].tobytes() == artifact.run(arrays)["y"].tobytes()


@pytest.mark.parametrize("script", UNRELIABLE)
@pytest.mark.parametrize("name", NETS)
def test_threads_that_come_when_they_like_change_no_bit(name, script):
    """Nobody waits for who has not come, and who comes when all is done finds nothing to do."""
    graph = read_graph(NETS[name], "test")
    artifact, arrays = compiled(graph), normal_inputs(graph, size=4)
    expected = artifact.run(arrays)["y"].tobytes()
    for slots in (2, 3, 4):
        with Loaded(artifact.object, artifact.interface, pool=Unreliable(slots, script)) as lent:
            for _ in range(3):
                assert lent.run(arrays)["y"].tobytes() == expected


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_many_small_calls_one_after_the_other(threads):
    """Threads that are late for one call meet the next ones."""
    graph = read_graph(NETS["a chain of products"], "test")
    artifact, inputs = compiled(graph), [normal_inputs(graph, seed=seed) for seed in range(4)]
    with artifact.load(threads) as lent:
        expected = [artifact.run(arrays)["y"].tobytes() for arrays in inputs]
        for again in range(1000):
            assert lent.run(inputs[again % 4])["y"].tobytes() == expected[again % 4]


def test_a_pool_may_be_the_first_thing_a_process_makes():
    program = "from edgec.backends.pool import Pool\nwith Pool(2) as pool: print(pool.slots)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "2\n"


def test_others_keep_off_the_processor_of_the_caller():
    """A thread that is woken may be put where the caller is, and would wait there while another processor is idle."""
    graph, places = read_graph(NETS["a chain of products"], "test"), os.sched_getaffinity(0)
    artifact, arrays = compiled(graph), normal_inputs(graph)
    with Pool(2) as pool, Loaded(artifact.object, artifact.interface, pool=pool) as model, Pool(len(places) + 1) as large:
        try:
            for here in (min(places), max(places), min(places)):
                os.sched_setaffinity(0, {here})
                model.run(arrays)
                assert [os.sched_getaffinity(thread) for thread in pool.threads] == [places - {here} or places]
        finally:
            os.sched_setaffinity(0, places)
        with Loaded(artifact.object, artifact.interface, pool=large) as model:
            model.run(arrays)
            assert all(os.sched_getaffinity(thread) == places for thread in large.threads)  # there is no processor for each


def test_models_share_a_pool_also_at_the_same_time():
    graphs = [read_graph(NETS[name], "test") for name in ("a chain of products", "convolutions")]
    wrong = []

    def repeat(artifact, arrays, expected):
        with Loaded(artifact.object, artifact.interface, pool=pool) as model:
            wrong.extend(n for n in range(50) if model.run(arrays)["y"].tobytes() != expected)

    with Pool(3) as pool:
        jobs = []
        for graph in graphs:
            artifact, arrays = compiled(graph), normal_inputs(graph)
            jobs.append(threading.Thread(target=repeat, args=(artifact, arrays, artifact.run(arrays)["y"].tobytes())))
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
    assert not wrong


def test_small_kernels_stay_in_the_calling_thread():
    graph = read_graph("graph g(%x: f32[1,30]) -> (%y) {\n @w: f32[30,40]\n %a = MatMul(%x, @w) : f32[1,40]\n %y = Relu(%a) : f32[1,40]\n}",
                       "test")
    artifact = compiled(graph, NATIVE)
    assert check(artifact, normal_inputs(graph)) == 0
    assert artifact.object == compiled(graph, replace(NATIVE, hand_over=0)).object


def test_small_code_is_shared_region_by_region():
    """-Os has no function in which threads walk the whole model together."""
    graph, machine = read_graph(NETS["convolutions"], "test"), replace(EAGER, compact=True)
    artifact, inputs = compiled(graph, machine), normal_inputs(graph)
    with Loaded(artifact.object, artifact.interface) as model:
        expected = model.run(inputs)
    team = Team(3)
    regions = Executor(3, backwards)
    team.struct.parallel_for = regions.struct.parallel_for
    with Loaded(artifact.object, artifact.interface, pool=team) as model:
        found = model.run(inputs)
    assert team.calls == 0 and regions.regions > 0
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_machine_without_threads_has_no_regions():
    graph = read_graph(NETS["convolutions"], "test")
    assert check(compiled(graph, replace(NATIVE, hand_over=0)), normal_inputs(graph)) == 0


@pytest.mark.parametrize("change", [{"size": 8}, {"slots": 0}, {"parallel_for": PARALLEL_FOR(0)}], ids=["too small", "no slots", "no function"])
def test_an_unsound_executor_is_refused(change):
    graph = read_graph(NETS["convolutions"], "test")
    artifact = compiled(graph)
    executor = Executor(1, backwards)
    for name, value in change.items():
        setattr(executor.struct, name, value)
    with Loaded(artifact.object, artifact.interface, pool=executor) as model:
        with pytest.raises(Internal, match="executor is incomplete or has no slots"):
            model.run(normal_inputs(graph))
        assert model.call() == BAD_EXECUTOR


def test_a_caller_that_knows_no_executors_gets_none():
    graph = read_graph(NETS["convolutions"], "test")
    artifact = compiled(graph)
    with Loaded(artifact.object, artifact.interface, pool=SimpleNamespace(address=1, slots=1)) as model:  # no address at all
        model._context[:4] = np.uint32(model._layout.executor + 7).tobytes()
        model.set_inputs(normal_inputs(graph))
        assert model.call() == OK


def test_the_layout_is_what_a_c_compiler_makes_of_it():
    members = ExecutorLayout(8 * ctypes.sizeof(ctypes.c_void_p))
    assert (members.context, members.slots, members.parallel_for, members.size) == (
        Struct.context.offset, Struct.slots.offset, Struct.parallel_for.offset, ctypes.sizeof(Struct))
