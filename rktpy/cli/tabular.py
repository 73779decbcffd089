"""Columns aligned by tabs, byte for byte as Go's ``text/tabwriter`` does with rkt's settings. Hot-path module."""

from __future__ import annotations

_STOP = 8


def align(text: str) -> str:
    """Lay out ``text``, whose cells end in tabs, so that the cells below one another start in the same place.

    A column is a run of adjacent lines that have a cell there which is ended by a tab; each such run gets its own width, a
    multiple of eight and at least one more than its widest cell. What follows the last tab of a line belongs to no column.
    """
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[] for _line in lines]
    _measure(lines, widths, 0, len(lines), 0)
    parts: list[str] = []
    for cells, columns in zip(lines, widths, strict=True):
        for cell, width in zip(cells, columns, strict=False):
            parts.append(cell)
            parts.append("\t" * ((width - len(cell) + _STOP - 1) // _STOP))
        parts.append(cells[-1])
        parts.append("\n")
    parts.pop()
    return "".join(parts)


def _measure(lines: list[list[str]], widths: list[list[int]], first: int, end: int, column: int) -> None:
    """Find the widths of ``column`` and the ones right of it in the lines from ``first`` to ``end``."""
    start = first
    while start < end:
        if len(lines[start]) - 1 <= column:
            start += 1
            continue
        stop = start
        widest = 0
        while stop < end and len(lines[stop]) - 1 > column:
            widest = max(widest, len(lines[stop][column]))
            stop += 1
        width = (widest + _STOP) // _STOP * _STOP
        for line in range(start, stop):
            widths[line].append(width)
        _measure(lines, widths, start, stop, column + 1)
        start = stop
