"""Time compiled models beside other runtimes, in rounds that go around all of them.

    edgec bench model.onnx --against onnxruntime,openvino
    edgec bench model.onnx --against litert=model.tflite --threads 2 --rounds 20 --json times.json

Every runner is a process of its own. A timed call sets the inputs, runs, and reads the outputs; the bare C call has a row of its own.
Without a model, those of ./testdata are timed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edgec.cli.delayed_progress import delayed_progress
from edgec.cli.model_arguments import (
    add_compile_arguments,
    add_reader_arguments,
    add_state_argument,
    compile_options,
    model_options,
    positive,
    state_option,
)
from edgec.cli.run import input_arrays
from edgec.cli.size_argument import add_size_argument, size_option
from edgec.errors import ModelError

name, help = "bench", "time compiled models beside other runtimes"

DEFAULT_MODELS = ("testdata/digits/digits.onnx",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="ONNX or .tflite files")
    parser.add_argument("--shape", action="append", default=[], metavar="INPUT=1x3x8x8", help="the shape of an input")
    parser.add_argument("--bind", action="append", default=[], metavar="N=1", help="the size of a named open dimension")
    add_state_argument(parser)
    add_reader_arguments(parser)
    add_compile_arguments(parser)
    parser.add_argument(
        "--against",
        default="onnxruntime",
        metavar="NAME[=FILE],...",
        help="onnxruntime, openvino, openvino-bf16, ncnn=FILE.param, mnn=FILE.mnn, litert=FILE.tflite, or none",
    )
    parser.add_argument("--rounds", type=positive, default=11, metavar="N", help="rounds around all runners (default: 11)")
    parser.add_argument("--round-seconds", type=float, default=0.06, metavar="S", help="how long each is called in a round (default: 0.06)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads that each may use (default: 1)")
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="the input arrays by name (default: drawn)")
    add_size_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to a file")


def run(arguments: argparse.Namespace) -> int:
    from edgec.backends.artifact import write_files
    from edgec.bench.run import bench
    from edgec.model_file import load

    models = arguments.models or [model for model in DEFAULT_MODELS if Path(model).is_file()]
    if not models:
        raise ModelError("no model given", hint="edgec bench model.onnx")
    peers = [peer for peer in arguments.against.split(",") if peer not in ("", "none")]
    results = []
    for model in models:
        inputs = input_arrays(load(model, **model_options(arguments)), arguments.inputs) if arguments.inputs else None
        with delayed_progress(f"timing {model}, rounds") as report:
            results.append(
                bench(
                    model,
                    peers,
                    rounds=arguments.rounds,
                    threads=arguments.threads,
                    inputs=inputs,
                    sizes=size_option(arguments),
                    round_seconds=arguments.round_seconds,
                    progress=report,
                    state=state_option(arguments),
                    **model_options(arguments),
                    **compile_options(arguments),
                )
            )
        print(results[-1].table(), end="\n\n" if model != models[-1] else "\n")
    if arguments.json:
        write_files({arguments.json: (json.dumps([r.facts() for r in results], indent=2) + "\n").encode()})
    return 0
