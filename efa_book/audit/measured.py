"""What a measurement gives back: numbers with units in a small table, and one sentence on how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["%", "M", "GFLOP", "TFLOP", "s", "points", "count", "mean", "times", "ratio", "small"]


@dataclass(frozen=True)
class Quantity:
    """A number and its unit; '%' means that `value` is a share, 'M' and the FLOPs that it is a plain count."""

    value: float
    unit: Unit = "count"

    def __str__(self) -> str:
        value = self.value
        match self.unit:
            case "%":
                return f"{100 * value:.2f} %" if 0 < abs(value) < 0.01 else f"{100 * value:.1f} %"
            case "M":
                return f"{value / 1e6:.1f} M"
            case "GFLOP":
                return f"{value / 1e9:.1f} GFLOP"
            case "TFLOP":
                return f"{value / 1e12:.3f} TFLOP"
            case "s":
                return f"{value:.1f} s"
            case "points":
                return f"{value if abs(value) >= 0.05 else 0:+.1f} points"
            case "mean":
                return f"{value:.1f}"
            case "times":
                return f"{value:.1f} times"
            case "ratio":
                return f"{value:.3f}"
            case "small":
                return "0" if value == 0 else f"{value:.1e}"
            case _:
                return f"{value:,.0f}"


Row = tuple[str | Quantity, ...]  # a name, then quantities or words


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Attributes:
        head: titles of the columns, the first of the rows' names.
        rows: one line each.
        how: what was computed on what, with which weights and seeds.
    """

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    how: str

    def value(self, row: str, column: int = 1) -> float:
        """The number in a named row; KeyError where there is none."""
        for cells in self.rows:
            if cells[0] == row:
                cell = cells[column]
                if isinstance(cell, Quantity):
                    return cell.value
        raise KeyError(row)
