"""What Huffman coding saves of the weights of integer networks: writes the table of docs/embedding.md between its marks `coding`.

    python docs/measure_coding.py            # compiles ../shared/peers/NAME_ort_minmax.onnx for a Cortex-M4, with and without

Bytes are those of the sections of weights in the object; the code is what the object has more elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

from edgec.backends.inspect_object import section_sizes
from edgec.compiler import compile

HERE = Path(__file__).resolve().parent
PAGE, PEERS = HERE / "embedding.md", HERE.parents[1] / "shared" / "peers"
BEGIN, END = "<!-- coding: begin -->\n", "<!-- coding: end -->"
MODELS = ("mlperf_kws_dscnn", "mlperf_ic_resnet8", "mlperf_vww_mbv1_025")
HEAD = "| weights of | bytes | `--compress-weights huffman` | saved | code, bytes |\n|---|---|---|---|---|\n"


def sizes(model: str, compress: str) -> tuple[int, int]:
    """Bytes of weights, and of all other sections that stay in flash."""
    found = section_sizes(compile(PEERS / f"{model}_ort_minmax.onnx", "cortex-m4", bind={"N": 1} if opened(model) else None,
                                  optimize="s", compress=compress, cache=user_cache_path("edgec")).object)
    weights = sum(size for name, size in found.items() if name.endswith("_weights"))
    return weights, sum(size for name, size in found.items() if name.startswith(".text"))


def opened(model: str) -> bool:
    """Whether the file has an open batch."""
    from edgec.onnx.reader import open_names
    return "N" in open_names(PEERS / f"{model}_ort_minmax.onnx")


def row(model: str) -> str:
    """One line of the table."""
    (plain, code), (coded, more) = sizes(model, ""), sizes(model, "huffman")
    return f"| {model} | {plain:,} | {coded:,} | {100 * (1 - coded / plain):.0f} % | {more - code:,} |\n"


def main() -> None:
    table = HEAD + "".join(map(row, MODELS))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
