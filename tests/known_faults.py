"""Two actions with the phrases of their faults, for tests of scores and of the parser."""

from efa import metrics

FAULTS = {
    "squat": {
        "shallow": ("the hips stop far above the knees", "the thighs do not reach parallel"),
        "knees_in": ("the knees collapse inward",),
        "round": ("the lower back rounds",),
    },
    "lunge": {"knees_in": ("the knees collapse inward",), "short": ("the front step is much too short",)},
}
PARSER = metrics.FaultParser(FAULTS)
