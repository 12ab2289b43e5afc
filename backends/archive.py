"""Static libraries: the `ar` format of System V with GNU's symbol table, as every Unix linker reads it.

Deterministic like `ar -D`: no times, owners or modes. (Format: "Archive File Format" in the System V ABI, chapter 7.)

    archive([("net.o", object_bytes, ["net_run"])])  ->  b"!<arch>\\n..."
"""
import struct
from collections.abc import Sequence

MAGIC = b"!<arch>\n"


def archive(members: Sequence[tuple[str, bytes, Sequence[str]]]) -> bytes:
    """An archive of (file name, contents, global symbols defined in it)."""
    long_names = b"".join(name.encode() + b"/\n" for name, _, _ in members if len(name.encode()) > 15)
    symbols = [(symbol.encode() + b"\0", index) for index, (_, _, names) in enumerate(members) for symbol in names]
    index_size = 4 + 4 * len(symbols) + sum(len(symbol) for symbol, _ in symbols)
    fixed = len(MAGIC) + 60 + _even(index_size) + (60 + _even(len(long_names)) if long_names else 0)
    offsets, end = [], fixed
    for _, contents, _ in members:
        offsets.append(end)
        end += 60 + _even(len(contents))
    table = struct.pack(f">{1 + len(symbols)}I", len(symbols), *(offsets[index] for _, index in symbols))
    table += b"".join(symbol for symbol, _ in symbols)
    parts = [MAGIC, *_member(b"/", table)] + (list(_member(b"//", long_names)) if long_names else [])
    position = 0
    for name, contents, _ in members:
        encoded, label = name.encode(), name.encode() + b"/"
        if len(encoded) > 15:
            label, position = b"/%d" % position, position + len(encoded) + 2
        parts += _member(label, contents)
    return b"".join(parts)


def _member(label: bytes, contents: bytes) -> tuple[bytes, bytes, bytes]:
    """Name, time, owner, group, mode and size in fixed columns, the contents, and a newline to an even size."""
    return b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (label, 0, 0, 0, b"644", len(contents)), contents, b"\n" * (len(contents) % 2)


def _even(size: int) -> int:
    return size + size % 2
