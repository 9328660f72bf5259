"""What the paper, its released code and its annotations say, measured again: small tables of numbers with units."""

from collections.abc import Sequence
from dataclasses import dataclass

FORMATS = {  # unit -> how a value reads: '%' of a share, 'M' and the FLOPs of a plain count
    "count": lambda value: f"{value:,.0f}",
    "mean": lambda value: f"{value:.1f}",
    "signed": lambda value: f"{value:+.1f}" if value else "0.0",
    "ratio": lambda value: f"{value:.3f}",
    "small": lambda value: "0" if value == 0 else f"{value:.1e}",
    "times": lambda value: f"{value:.1f} times",
    "s": lambda value: f"{value:.1f} s",
    "M": lambda value: f"{value / 1e6:.1f} M",
    "GFLOP": lambda value: f"{value / 1e9:.1f} GFLOP",
    "TFLOP": lambda value: f"{value / 1e12:.3f} TFLOP",
    "points": lambda value: f"{value if abs(value) >= 0.05 else 0:+.1f} points",
    "%": lambda value: f"{100 * value:.{2 if 0 < abs(value) < 0.01 else 1}f} %",
}


@dataclass(frozen=True)
class Quantity:
    """A number and its unit, a key of `FORMATS`."""

    value: float
    unit: str = "count"

    def __str__(self) -> str:
        return FORMATS[self.unit](self.value)


Row = tuple[str | Quantity, ...]  # a name, then quantities or words


def quantities(unit: str, *values: float) -> tuple[Quantity, ...]:
    """Cells of one unit."""
    return tuple(Quantity(value, unit) for value in values)


@dataclass(frozen=True)
class Measurement:
    """A table of one measurement: titles of the columns, rows, and what was computed on what."""

    head: Sequence[str]
    rows: Sequence[Row]
    how: str

    def value(self, row: str, column: int = 1) -> float:
        """The number in a named row; KeyError where there is none."""
        for cells in self.rows:
            if cells[0] == row and isinstance(cell := cells[column], Quantity):
                return cell.value
        raise KeyError(row)
