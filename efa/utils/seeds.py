"""Lists of seeds as users write them: on the command line, as a notebook's parameter or in EFA_SEEDS."""

from collections.abc import Sequence

from efa.utils.errors import InputError

SEEDS = 2**32  # random generators take seeds below this


def seeds_of(value: int | str | Sequence[int]) -> tuple[int, ...]:
    """The seeds '0,1,2', [0, 1, 2] or 0 as a tuple, each once: a single number is one seed, not a count.

    Raises InputError: no seed, or one that is no whole number from 0 to 2^32 - 1.
    """
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    try:
        if any(isinstance(part, bool | float) for part in parts):
            raise ValueError
        seeds = tuple(dict.fromkeys(int(part) for part in parts))
    except (TypeError, ValueError):
        seeds = ()
    if not seeds or min(seeds) < 0 or max(seeds) >= SEEDS:
        hint = f"write whole numbers, not negative and below {SEEDS}, with commas, as in --seeds 0,1,2"
        raise InputError(f"seeds cannot be {value!r}", hint=hint)
    return seeds
