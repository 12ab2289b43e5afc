"""Columns of text for the terminal: words to the left, numbers to the right, plain enough for other programs.

    print(text_table(["name", "MACs"], [["conv", 1234]]))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def text_table(head: Sequence[str], rows: Sequence[Sequence[Any]], foot: Sequence[Any] | None = None) -> str:
    """Lines of equal columns two spaces apart; numbers get thousands separators. `foot` stands below a line."""
    table = [list(head), *([_cell(c) for c in row] for row in rows)] + ([[_cell(c) for c in foot]] if foot else [])
    widths = [max(len(row[n]) for row in table) for n in range(len(head))]
    samples = rows[0] if rows else head
    numeric = [isinstance(c, (int, float)) for c in samples]
    lines = ["  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric)).rstrip() for row in table]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *(lines[1:-1] + [rule, lines[-1]] if foot else lines[1:])])


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.3g}" if isinstance(value, float) else str(value)
