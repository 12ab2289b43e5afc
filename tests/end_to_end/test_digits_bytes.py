"""Same bytes everywhere, whole files or none: what may not depend on the machine, the folder, the hash seed or a full disk.

    sha256(object, header, manifest) in another process with PYTHONHASHSEED=12345   ==   sha256(...) here
"""
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgec
from edgec.backends.target import find
from edgec.errors import CompileError

TARGETS = ("x86-64-v3", "aarch64", "cortex-m4", "cortex-m55")

COMPILE = """
import hashlib, json, sys
import edgec
model, workers, *targets = sys.argv[1:]
for target in targets:
    artifact = edgec.compile(model, target, workers=int(workers))
    facts = json.dumps(artifact.manifest).encode()
    print(target, hashlib.sha256(artifact.object + artifact.header.encode() + facts).hexdigest())
"""


def digest(artifact) -> str:
    return hashlib.sha256(artifact.object + artifact.header.encode() + json.dumps(artifact.manifest).encode()).hexdigest()


def digests_elsewhere(model: Path, folder: Path, targets=TARGETS, workers=0, **variables: str) -> dict[str, str]:
    """Digests by target from a process of its own in `folder`, with these environment variables, targets in another order."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | variables
    command = [sys.executable, "-P", "-c", COMPILE, str(model), str(workers), *reversed(targets)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def narrow_numpy() -> str:
    """All vector extensions numpy could choose on this machine beyond those it is built for."""
    umath = np._core._multiarray_umath if hasattr(np, "_core") else np.core._multiarray_umath
    return " ".join(feature for feature in umath.__cpu_dispatch__ if umath.__cpu_features__[feature])


@pytest.mark.parametrize("variables", [{"PYTHONHASHSEED": "12345"}, {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"}],
                         ids=["hash seed", "BLAS"])
def test_digits_is_the_same_in_another_process_and_folder(compiled, digits, tmp_path, variables):
    here = {name: digest(compiled(find(name))) for name in TARGETS}
    assert digests_elsewhere(digits.folder / "digits.onnx", tmp_path, **variables) == here


def foldable(path: Path) -> Path:
    """A model whose constants are computed at compile time by what differs between machines: contractions, exp, tanh, sums."""
    random = np.random.default_rng(3)
    weights = {"a": random.standard_normal((65, 301)), "b": random.standard_normal((301, 67)), "c": random.standard_normal((65, 67))}
    nodes = [helper.make_node("MatMul", ["a", "b"], ["ab"]), helper.make_node("Tanh", ["ab"], ["t"]), helper.make_node("Exp", ["c"], ["e"]),
             helper.make_node("Sigmoid", ["c"], ["s"]), helper.make_node("Mul", ["t", "e"], ["te"]),
             helper.make_node("Add", ["te", "s"], ["tes"]), helper.make_node("ReduceMean", ["ab"], ["m"], keepdims=1),
             helper.make_node("Add", ["tes", "m"], ["all"]), helper.make_node("Add", ["x", "all"], ["y"])]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [65, 67]) for name in "xy"]
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "foldable", ports[:1], ports[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def test_folded_constants_do_not_depend_on_the_processor(tmp_path):
    model = foldable(tmp_path / "foldable.onnx")
    artifact = edgec.compile(model, "aarch64")
    assert artifact.interface.flash_bytes < 65 * 67 * 4 + 4000      # everything but the last Add was folded
    narrow = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": narrow_numpy()}
    for variables in (narrow, {"OPENBLAS_CORETYPE": "Haswell"}):
        assert digests_elsewhere(model, tmp_path, ("aarch64",), **variables) == {"aarch64": digest(artifact)}


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_do_not_change_the_object(compiled, digits, workers):
    artifact = edgec.compile(digits.folder / "digits.onnx", "cortex-m4", workers=workers)
    assert artifact.object == compiled(find("cortex-m4")).object


def test_a_cache_does_not_change_the_object(compiled, digits, tmp_path):
    first, second = (edgec.compile(digits.folder / "digits.onnx", "cortex-m4", cache=tmp_path / "cache") for _ in range(2))
    assert any((tmp_path / "cache").rglob("*"))
    assert first.object == second.object == compiled(find("cortex-m4")).object


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_read_only_folder_stays_empty(compiled):
    artifact = compiled(find("cortex-m4"))
    artifact.contents("json")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        user = os.geteuid()
        try:
            os.seteuid(65534 if user == 0 else user)        # root may write anywhere, so root becomes nobody
            with pytest.raises(CompileError, match=f"cannot write {folder}/.*Permission denied"):
                artifact.write(folder)
        finally:
            os.seteuid(user)
        assert everything_in(Path(folder)) == []


def test_a_disk_that_fills_up_keeps_what_was_there(compiled, tmp_path):
    artifact = compiled(find("cortex-m4"))
    (tmp_path / "digits.h").write_text("old header")
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    assert len(artifact.contents("header")) + len(artifact.contents("json")) < 16_000 < len(artifact.object)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, limit[1]))
        with pytest.raises(CompileError, match="cannot write .*digits.o: File too large"):
            artifact.write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert everything_in(tmp_path) == ["digits.h"]
    assert (tmp_path / "digits.h").read_text() == "old header"
