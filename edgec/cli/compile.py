"""Compile a model into an object, a header and its facts.

    edgec compile model.onnx --target aarch64 --bind N=1..8 -o build
    edgec compile model.onnx --emit obj,asm,llvm,graph,kernels,loops -o build
    edgec compile model.onnx --shape image=1x3x224x224,4x3x224x224       # both in one object, chosen by in.image_0
    edgec compile model.onnx --target wasm32 --emit wasm,json -o build   # a WebAssembly module that stands alone
    edgec compile model.onnx --emit obj,header,executor -o build         # and edgec_pthreads.h, .c: threads for the model

A shared library (so) needs a C compiler for the target, everything else nothing. Files appear all together or not at all.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgec.cli.delayed_progress import delayed_progress
from edgec.cli.model_arguments import add_compile_arguments, add_model_arguments, compile_options, load_models
from edgec.errors import ModelError

name, help = "compile", "compile a model into an object, a header and its facts"

ARTIFACT = {"obj": "obj", "header": "header", "json": "json", "asm": "asm", "llvm": "llvm", "archive": "archive", "so": "shared",
            "wasm": "wasm"}
TEXTS = ("graph", "kernels", "loops")
EXECUTOR = "executor"
KINDS = (*ARTIFACT, *TEXTS, EXECUTOR)
DEFAULT = "obj,header,json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_compile_arguments(parser)
    parser.add_argument(
        "--emit", default=DEFAULT, metavar="KIND,...", help=f"what to write: {', '.join(KINDS)} (default: {DEFAULT})"
    )
    parser.add_argument("--multiversion", action="store_true", help="code for every level of the target, which "
                        "PREFIX_init chooses from at run time (see `edgec targets x86-64`)")
    parser.add_argument("--compress-weights", default="", choices=["huffman"], help="code the weights; a call decodes them into the arena")
    parser.add_argument("--prefix", metavar="NAME", help="of every C name (default: from the name of the model)")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="FOLDER", help="where to write (default: here)")


def run(arguments: argparse.Namespace) -> int:
    from edgec.backends import pthreads
    from edgec.backends.artifact import SUFFIXES, write_files
    from edgec.compiler import compile

    kinds = _kinds(arguments.emit)
    graphs, options = load_models(arguments), compile_options(arguments)
    keep = tuple(kind for kind in ("llvm", "asm") if kind in kinds)
    stem = _prefix(arguments)
    with delayed_progress(f"compiling {arguments.model}") as report:
        artifact = compile(graphs, prefix=stem, multiversion=arguments.multiversion, keep=keep,
                           compress=arguments.compress_weights, progress=report, **options)
        contents = {stem + SUFFIXES[ARTIFACT[kind]]: artifact.contents(ARTIFACT[kind]) for kind in kinds if kind in ARTIFACT}
        contents |= _texts(graphs, artifact.target, stem, kinds, options)
        contents |= pthreads.files() if EXECUTOR in kinds else {}
    for path in write_files({arguments.output / file: data for file, data in contents.items()}):
        print(f"{path}  {path.stat().st_size:,} bytes")
    facts = artifact.interface
    if arguments.compress_weights or any(row["encoding"] != "f32" for row in artifact.manifest["constants"]):
        print(_constants(artifact.manifest))
    print(
        f"{facts.run_symbol}: {facts.flash_bytes:,} bytes of code and weights, "
        f"{artifact.manifest['live_bytes']:,} alive at most in {facts.arena_bytes:,} of arena, {facts.stack_bytes:,} of stack"
    )
    return 0


def _constants(manifest: dict[str, Any]) -> str:
    """What the constants are stored as, in one line."""
    each = ", ".join(f"{row['values']:,} in {row['encoding']} ({row['bytes']:,} bytes)" for row in manifest["constants"])
    return f"constants: {each}; {manifest['constant_bytes']:,} bytes in the object"


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ModelError(f"cannot emit {', '.join(unknown) or 'nothing'}", hint=f"the kinds are {', '.join(KINDS)}")
    return list(dict.fromkeys(kinds))


def _prefix(arguments: argparse.Namespace) -> str:
    """What the C names and the files begin with."""
    from edgec.backends.c_names import prefix

    if arguments.prefix and prefix(arguments.prefix) != arguments.prefix:
        raise ModelError(f"the prefix '{arguments.prefix}' is no C name", hint=f"use --prefix {prefix(arguments.prefix)}")
    return arguments.prefix or prefix(Path(arguments.model).stem)


def _texts(graphs: list[Any], target: Any, stem: str, kinds: list[str], options: dict[str, Any]) -> dict[str, bytes]:
    """The three languages' texts that were asked for, their large constants in .npz files beside them."""
    if not set(kinds) & set(TEXTS):
        return {}
    if len(graphs) > 1:
        raise ModelError("the texts of several shapes", hint=f"give one shape to have {', '.join(k for k in TEXTS if k in kinds)}")
    from edgec.compiled_texts import compiled_texts

    texts, found = compiled_texts(graphs[0], target, options["passes"], options["without"], options["precision"]), {}
    for kind in TEXTS:
        if kind in kinds:
            text, arrays = getattr(texts, kind)
            found[f"{stem}.{kind}.edge"] = text.encode()
            if arrays:
                from edgec.array_file import arrays_bytes

                found[f"{stem}.{kind}.npz"] = arrays_bytes(arrays)
    return found
