"""Measures edgec against other runtimes into docs/benchmarks.json, and writes docs/benchmarks.md from it.

    python docs/measure.py ZOO --files FILES --tflite TFLITE    go on: what docs/benchmarks.json lacks is measured, each model saved at once
    python docs/measure.py ZOO --fresh ...                      begin anew
    python docs/measure.py ZOO --redo tcn,instructions ...      these once more
    python docs/measure.py --page-only                          the page alone

ZOO holds ONNX files (../shared/make_zoo.py builds them), FILES those of docs/convert_peers.py, TFLITE NAME_f32.tflite (../shared/zoo_tflite).
Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import runpy
import time
from pathlib import Path
from typing import Any

from edgec.backends.target import find
from edgec.bench.peers import PEERS
from edgec.bench.race import ROUNDS
from edgec.bench.result import BenchResult

MODELS = (
    "tiny_ae", "mlp", "tiny_dscnn", "tiny_vww", "tiny_resnet8", "tcn", "lstm", "gru", "shufflenet_v2_x1_0", "mobilenetv3_large", "mobilenet_v2",
    "squeezenet1_1", "efficientnet_lite0", "convnext_atto", "unet", "gpt_decoder", "yolov8n", "vit_tiny", "minilm_bert", "resnet18",
    "densenet121", "resnet50", "mobilenet_v2_160", "mobilenet_v2_320", "mobilenet_v2_b8", "resnet18_160", "resnet18_320", "resnet18_b8",
)
DOCS = Path(__file__).resolve().parent
STORE, PAGE = DOCS / "benchmarks.json", DOCS / "benchmarks.md"
SPEED, INSTRUCTIONS, WRITER = (runpy.run_path(str(DOCS / f"measure_{name}.py")) for name in ("speed", "instructions", "page"))


def main() -> None:
    arguments = _parser().parse_args()
    store = Path(arguments.store)
    facts = json.loads(store.read_text(encoding="utf-8")) if store.is_file() and not arguments.fresh else {"models": {}, "instructions": []}
    if not arguments.page_only:
        facts |= {"machine": find("native").seen.split(" with ")[0], "versions": _versions()}
        _measure_models(facts, arguments, store)
        _measure_integers(facts, arguments, store)
        _count_instructions(facts, arguments, store)
    arguments.page.write_text(WRITER["page"](facts), encoding="utf-8")
    print(arguments.page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path, nargs="?", default=Path("."), help="a folder of ONNX files")
    parser.add_argument("--files", type=Path, help="a folder with what docs/convert_peers.py made")
    parser.add_argument("--tflite", type=Path, help="a folder with NAME_f32.tflite")
    parser.add_argument("--models", default=",".join(MODELS), help="names, separated by commas (default: all)")
    parser.add_argument("--redo", default="", help="names of models to measure once more, and `instructions`")
    parser.add_argument("--threads", default="1,2", help="default: 1,2")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--fresh", action="store_true", help="forget what was measured")
    parser.add_argument("--no-instructions", action="store_true", help="leave out emulated inferences")
    parser.add_argument("--no-integers", action="store_true", help="leave out the quantized models")
    parser.add_argument("--page-only", action="store_true", help="write the page from what was measured")
    parser.add_argument("--store", type=Path, default=STORE, help="where the numbers are (default: docs/benchmarks.json)")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: docs/benchmarks.md)")
    return parser


def _measure_models(facts: dict[str, Any], arguments: argparse.Namespace, store: Path) -> None:
    """Every model that is asked for and not yet there. One that edgec refuses is told and left out."""
    places = SPEED["Places"](arguments.zoo, arguments.files, arguments.tflite)
    redo, threads = arguments.redo.split(","), arguments.threads.split(",")
    names = [name for name in arguments.models.split(",") if places.model(name).is_file()]
    todo = [name for name in names if name in redo or not set(threads) <= set(facts["models"].get(name, {}).get("threads", {}))]
    for number, name in enumerate(todo):
        started = time.perf_counter()
        try:
            found = SPEED["measure"](name, places, [int(t) for t in threads], arguments.rounds, _say)
        except Exception as error:  # a long run goes on whatever happens to one of its many parts
            print(f"{name}: {error}", flush=True)
            continue
        old = facts["models"].get(name, {}).get("threads", {})
        facts["models"][name] = found | {"threads": old | found["threads"]}
        _save(facts, store)
        print(f"[{number + 1}/{len(todo)}] {name} took {time.perf_counter() - started:.0f} s", flush=True)


def _measure_integers(facts: dict[str, Any], arguments: argparse.Namespace, store: Path) -> None:
    """The quantized models, with one thread, in the same way."""
    places = SPEED["Places"](arguments.zoo, arguments.files, arguments.tflite)
    known, redo = facts.get("integers", {}), arguments.redo.split(",")
    names = [name for name in arguments.models.split(",") if places.model(name).is_file() and not name.endswith(WRITER["VARIANTS"])]
    for name in [] if arguments.no_integers else [name for name in names if name in redo or name not in known]:
        try:
            found = SPEED["measure_integers"](name, places, arguments.rounds, _say)
        except Exception as error:  # as above
            print(f"{name}, integers: {error}", flush=True)
            continue
        facts["integers"] = facts.get("integers", {}) | {name: found}
        _save(facts, store)


def _say(name: str, result: BenchResult) -> None:
    best = result.best(WRITER["PEERS"])
    ratio = "{:.2f} ({:.2f} to {:.2f})".format(*best.ratio(result.rows[0])) if best else "no peer"
    print(f"{name}, {result.threads} threads: {1e3 * result.rows[0].seconds:.3g} ms, {best.name if best else ''} {ratio}", flush=True)
    for row in result.rows:
        if row.reason:
            print(f"  {row.name}: {row.reason}", flush=True)


def _count_instructions(facts: dict[str, Any], arguments: argparse.Namespace, store: Path) -> None:
    if "instructions" in arguments.redo.split(","):
        facts["instructions"] = []
    known = {(row["model"], row["target"]) for row in facts["instructions"]}
    for model, target in () if arguments.no_instructions else INSTRUCTIONS["COUNTED"]:
        if (model, target) not in known and (row := INSTRUCTIONS["count"](arguments.zoo, model, target)):
            facts["instructions"].append(row)
            _save(facts, store)
            print(f"{model} on {target}: {row['instructions'] / 1e6:.1f} million instructions", flush=True)


def _save(facts: dict[str, Any], store: Path) -> None:
    """The models in their usual order; the file appears whole."""
    for part in ("models", "integers"):
        facts[part] = {name: facts[part][name] for name in sorted(facts.get(part, {}), key=_order)}
    unfinished = store.with_suffix(".part")
    unfinished.write_text(_text(facts), encoding="utf-8")
    unfinished.replace(store)


def _order(name: str) -> tuple[int, str]:
    return (MODELS.index(name) if name in MODELS else len(MODELS), name)


def _text(facts: dict[str, Any]) -> str:
    """JSON with lists of numbers on one line each, so that changes can be read."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([-+.e\d,\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _versions() -> dict[str, str]:
    found = {}
    for kind in PEERS.values():
        try:
            found[kind.package] = importlib.metadata.version(kind.package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
