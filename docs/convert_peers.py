"""Converts the ONNX files of a folder for the runtimes that read a format of their own: ncnn (.param, .bin) and MNN (.mnn); and
quantizes them with onnxruntime's and OpenVINO's own tools (NAME_ort_int8.onnx, NAME_nncf_int8.xml).

    python docs/convert_peers.py ZOO FILES                  all models; what is there already stays
    python docs/convert_peers.py ZOO FILES --models tcn,gru

The converters are the packages `pnnx` (its program alone, without what it would install besides), `MNN`, `onnxruntime` and `nncf`; one that this interpreter
lacks is installed into an environment of its own below FILES. A model that a converter refuses is told and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgec.drawn_inputs import drawn_inputs
from edgec.onnx.reader import load

SAMPLES = 16  # seeded random inputs that quantization ranges are taken from
QUANTIZE = Path(__file__).resolve().parent / "quantize_for_peers.py"
SECONDS = 600  # a converter that takes longer is stopped
FIND_PNNX = "import importlib.util; print(importlib.util.find_spec('pnnx').submodule_search_locations[0])"
MNN_CONVERT = "import sys, _tools, MNN; _tools.mnnconvert(sys.argv[1:])"  # the script of the package would install things by itself


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path, help="a folder of ONNX files")
    parser.add_argument("files", type=Path, help="the folder to write to")
    parser.add_argument("--models", default="", help="names, separated by commas (default: all)")
    arguments = parser.parse_args()
    arguments.files.mkdir(parents=True, exist_ok=True)
    names = [n for n in arguments.models.split(",") if n] or sorted(path.stem for path in arguments.zoo.glob("*.onnx"))
    for name in names:
        for kind, (suffix, convert) in CONVERTERS.items():
            if not (arguments.files / f"{name}{suffix}").is_file():
                print(f"{name}: {kind} {convert(arguments.zoo / f'{name}.onnx', arguments.files)}", flush=True)


def to_ncnn(model: Path, files: Path) -> str:
    """NAME.param and NAME.bin, weights in f32; the result in a word or a line."""
    place = subprocess.run([tool("pnnx", files, "--no-deps"), "-c", FIND_PNNX], capture_output=True, text=True, check=True).stdout.strip()
    program = Path(place) / ("pnnx.exe" if os.name == "nt" else "pnnx")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        shutil.copy(model, copy)
        said = _run([str(program), copy.name, f"inputshape={input_shapes(model)}", "fp16=0"], folder)
        made = [copy.with_name(f"model.ncnn{suffix}") for suffix in (".param", ".bin")]
        if not all(path.is_file() for path in made):
            return f"refused: {said}"
        for path in reversed(made):  # the .param last: it tells that both are there
            shutil.move(path, files / f"{model.stem}{path.suffix}")
    return "converted"


def to_mnn(model: Path, files: Path) -> str:
    """NAME.mnn; the result in a word or a line."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.mnn"
        options = ["mnnconvert", "-f", "ONNX", "--modelFile", str(model.resolve()), "--MNNModel", str(made), "--bizCode", "edgec"]
        said = _run([tool("MNN", files), "-c", MNN_CONVERT, *options], folder)
        if not made.is_file():
            return f"refused: {said}"
        shutil.move(made, files / f"{model.stem}.mnn")
    return "converted"


def quantized_by(peer: str, package: str, suffix: str, *others: str) -> Callable[[Path, Path], str]:
    """A converter that quantizes with a peer's own tool."""
    def convert(model: Path, files: Path) -> str:
        with tempfile.TemporaryDirectory() as folder:
            data, made = Path(folder) / "samples.npz", Path(folder) / f"made{Path(suffix).suffix}"
            draw_samples(model, data)
            said = _run([tool(package, files, *others), str(QUANTIZE), peer, str(model.resolve()), str(data), str(made)], folder)
            if not made.is_file():
                return f"refused: {said}"
            for path in sorted(Path(folder).glob("made.*")):  # the weights' file first: the other tells that both are there
                shutil.move(path, files / f"{model.stem}{Path(suffix).stem}{path.suffix}")
        return "quantized"
    return convert


def draw_samples(model: Path, file: Path) -> None:
    """SAMPLES seeded inputs of a model as NAME -> array with one more axis in front."""
    graph = load(model)
    drawn = [drawn_inputs(graph, seed=n) for n in range(SAMPLES)]
    np.savez(file, **{name: np.stack([each[name] for each in drawn]) for name in drawn[0]})


def input_shapes(model: Path) -> str:
    """The inputs as pnnx takes them: `[1,3,224,224],[1,64]i64`."""
    kinds = {onnx.TensorProto.FLOAT: "", onnx.TensorProto.INT64: "i64", onnx.TensorProto.INT32: "i32"}
    found = []
    for value in onnx.load(model, load_external_data=False).graph.input:
        tensor = value.type.tensor_type
        found.append(f"[{','.join(str(d.dim_value) for d in tensor.shape.dim)}]{kinds[tensor.elem_type]}")
    return ",".join(found)


def tool(package: str, files: Path, *options: str) -> str:
    """An interpreter that has the package: this one, or that of an environment of its own, made when first asked for."""
    if importlib.util.find_spec(package):
        return sys.executable
    home = files / f"environment-{package.lower()}"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *options, package], check=True)
    return str(python)


def _run(command: Sequence[str], folder: str) -> str:
    """Run a converter; its last line that is not empty."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"no result after {SECONDS} s"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"status {done.returncode}"


CONVERTERS = {
    "ncnn": (".param", to_ncnn),
    "mnn": (".mnn", to_mnn),
    "onnxruntime int8": ("_ort_int8.onnx", quantized_by("onnxruntime", "onnxruntime", "_ort_int8.onnx")),
    "openvino int8": ("_nncf_int8.xml", quantized_by("openvino", "nncf", "_nncf_int8.xml", "openvino", "onnx")),
}

if __name__ == "__main__":
    main()
