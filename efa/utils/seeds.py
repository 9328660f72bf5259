"""Lists of seeds as users write them: on the command line, as a notebook's parameter or in EFA_SEEDS."""

from collections.abc import Sequence

from efa.utils.errors import InputError

SEEDS = 2**32  # random generators take seeds below this


def seeds_of(value: int | str | Sequence[int]) -> tuple[int, ...]:
    """The seeds '0,1,2', [0, 1, 2] or 0 as a tuple, each once: a single number is one seed, not a count.

    Raises:
        InputError: no seed, or one that is no whole number from 0 to 2^32 - 1.
    """
    hint = "write whole numbers with commas, as in --seeds 0,1,2"
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    try:
        if any(isinstance(part, bool | float) for part in parts):
            raise ValueError
        seeds = tuple(dict.fromkeys(int(part) for part in parts))
    except (TypeError, ValueError):
        raise InputError(f"seeds cannot be {value!r}", hint=hint) from None
    if not seeds:
        raise InputError(f"seeds cannot be {value!r}", hint=hint)
    if min(seeds) < 0:
        raise InputError(f"seeds cannot be {value!r}", hint="they must not be negative")
    if max(seeds) >= SEEDS:
        raise InputError(f"seeds cannot be {value!r}", hint=f"they must be below {SEEDS}")
    return seeds
