"""EFA reproduced: explainable action form assessment, from videos to the paper's tables.

>>> from efa import EFA
>>> EFA.from_pretrained("my-checkpoint").assess("squat.mp4")["explanation"]  # doctest: +ELLIPSIS
'...'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from efa.predict import EFA

__all__ = ["EFA"]


def __getattr__(name: str) -> Any:
    """`EFA` on first use, so that ``import efa.data`` does not load torch models."""
    if name == "EFA":
        from efa.predict import EFA

        return EFA
    raise AttributeError(f"module 'efa' has no attribute '{name}'")
