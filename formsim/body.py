"""The performer: sampled proportions and looks, and the solids that stand for body and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from formsim.equipment import add_equipment
from formsim.shapes import Array, Builder, Color, Paint, Pose, Primitives, cross, square_to, unit
from formsim.tables import TABLES

SLEEVES = ("none", "short", "long")
LEGS = ("shorts", "capri", "long")
HAIR = ("bald", "short", "long", "bun")

# Segment lengths as fractions of the body height
PROPORTIONS: dict[str, float] = TABLES["proportions"]
ANKLE_HEIGHT = 0.039
VERTICAL = ("lower_trunk", "upper_trunk", "neck", "head", "thigh", "shank")
COLORS: dict[str, list[Color]] = TABLES["colors"]


def grid(value: float) -> float:
    """Round to a multiple of 2**-20: the same float64 on every machine whatever its last bits were."""
    return round(value * 1048576.0) / 1048576.0


def bell(rng: np.random.RandomState, mean: float, half: float) -> float:
    """A bell-shaped draw in mean +- half from three uniform ones (normal variates would go through libm's log)."""
    total = rng.random_sample() + rng.random_sample() + rng.random_sample()
    return grid(mean + half * (total / 1.5 - 1.0))


def pick(rng: np.random.RandomState, name: str, jitter: float) -> Color:
    """One of `COLORS[name]`, every channel moved by up to `jitter` and kept within 0..1."""
    r, g, b = COLORS[name][rng.randint(len(COLORS[name]))]
    r, g, b = (min(1.0, max(0.0, grid(c + jitter * (2.0 * rng.random_sample() - 1.0)))) for c in (r, g, b))
    return r, g, b


@dataclass(frozen=True)
class Subject:
    """One performer. Lengths in metres, joint to joint; colours are RGB in 0..1.

    `neck` + `head` reaches from the base of the neck to the top of the head, `hand` from the wrist to the end of the
    fist, `foot` from the ankle to the tip of the toes.
    """

    height: float
    lower_trunk: float
    upper_trunk: float
    neck: float
    head: float
    shoulder_half_width: float
    hip_half_width: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    foot: float
    girth: float  # of the trunk, 1 = average
    limb_girth: float
    skin: Color
    hair: Color
    top: Color
    bottom: Color
    shoe: Color
    accent: Color  # stripe of the garments
    sleeve: str  # one of SLEEVES
    legs: str  # one of LEGS
    hair_style: str  # one of HAIR
    stripe: int  # 0 plain top, 1 chest band, 2 hoops

    @classmethod
    def sample(cls, rng: np.random.RandomState) -> Subject:
        """Draw a performer: height 1.50 to 1.95 m, each proportion within a few per cent of the average, any looks."""
        height = bell(rng, 1.725, 0.225)
        share = {name: value * bell(rng, 1.0, 0.07) for name, value in PROPORTIONS.items()}
        share["shoulder_half_width"] *= bell(rng, 1.0, 0.07)
        share["hip_half_width"] *= bell(rng, 1.0, 0.07)
        stretch = (1.0 - ANKLE_HEIGHT) / (sum(share[name] for name in VERTICAL))
        length = {name: grid(height * value * (stretch if name in VERTICAL else 1.0)) for name, value in share.items()}
        girth = bell(rng, 1.0, 0.17)
        limb_girth = grid(0.5 * girth + 0.5 * bell(rng, 1.0, 0.17))
        skin = pick(rng, "skin", 0.03)
        hair = pick(rng, "hair", 0.03)
        top, bottom = pick(rng, "cloth", 0.06), pick(rng, "cloth", 0.06)
        if sum(abs(s - t) for s, t in zip(top, bottom, strict=True)) < 0.35:  # the waist must show: darken the trousers
            bottom = (grid(0.4 * bottom[0]), grid(0.4 * bottom[1]), grid(0.4 * bottom[2]))
        shoe = pick(rng, "shoe", 0.05)
        accent = pick(rng, "cloth", 0.05)
        return cls(
            height=height, **length, girth=girth, limb_girth=limb_girth,
            skin=skin, hair=hair, top=top, bottom=bottom, shoe=shoe, accent=accent,
            sleeve=SLEEVES[rng.randint(len(SLEEVES))], legs=LEGS[rng.randint(len(LEGS))],
            hair_style=HAIR[(0, 1, 1, 1, 2, 2, 3)[rng.randint(7)]], stripe=int((0, 0, 1, 2)[rng.randint(4)]),
        )  # fmt: skip


def primitives(joints: Array, subject: Subject, equipment: tuple[str, ...] = ()) -> Primitives:
    """Solids for a clip: body, clothes and the `equipment` named in `EQUIPMENT`.

    `joints`: float64 [T, 20, 3] metres, in the order of `motion.JOINTS`; x forward, y left, z up, floor at 0.

    Raises:
        ValueError: joints of another shape, or an unknown name.
    """
    joints = np.asarray(joints, float)
    if joints.ndim != 3 or joints.shape[1:] != (20, 3) or len(joints) == 0:
        raise ValueError(f"joints must be [T, 20, 3] with T > 0, not {list(joints.shape)}")
    pose = Pose.from_joints(joints)
    build = Builder(len(joints), subject.accent)
    _trunk(build, pose, subject)
    _head(build, pose, subject)
    for side in (0, 1):
        _arm(build, pose, subject, side)
        _leg(build, pose, subject, side)
    add_equipment(build, pose, equipment)
    return build.build()


def _trunk(build: Builder, pose: Pose, who: Subject) -> None:
    size = who.height / 1.75
    k = size * who.girth
    hips, chest, neck, low, high = pose.pelvis, pose.chest, pose.neck, pose.spine, pose.back
    cloth = None
    if who.stripe == 1:
        cloth = Paint(who.accent, chest + 0.03 * high, high, 0.07 * size)
    elif who.stripe == 2:
        cloth = Paint(who.accent, chest - 0.5 * high, high, 0.035, 0.09)
    belt = Paint(who.bottom, hips + 0.055 * size * low, -low)
    build.cone(hips, chest, 0.099 * k, 0.095 * k, who.top, ((pose.left_low, 1.38),), paint=belt)
    top = neck - (0.055 * size + 0.05 * k) * high
    build.cone(chest + 0.004 * pose.front, top, 0.094 * k, 0.099 * k, who.top, ((pose.left, 1.42),), paint=cloth)
    right, left = (neck + 0.8 * (pose.shoulder[side] - neck) for side in (1, 0))
    build.cone(right, left, 0.056 * k, 0.056 * k, who.top, ((high, 1.1),))
    for side in (0, 1):
        build.cone(neck + 0.02 * high, pose.shoulder[side] + 0.012 * high, 0.047 * size, 0.04 * k, who.top)  # trapezius
    right, left = pose.hip[1] + 0.015 * low, pose.hip[0] + 0.015 * low
    build.cone(right, left, 0.080 * k, 0.080 * k, who.bottom, ((pose.front_low, 1.08),))
    for hip in pose.hip:
        build.ball(hip - 0.035 * size * pose.front_low - 0.005 * low, 0.082 * k, who.bottom)


def _head(build: Builder, pose: Pose, who: Subject) -> None:
    up = unit(pose.head - pose.neck)
    left = square_to(pose.left, up)
    ahead = cross(left, up)
    size = who.head
    r = 0.43 * size
    skull = pose.head - r * up
    jaw = pose.head - 0.74 * size * up + 0.13 * size * ahead
    throat = skull - 0.25 * size * up - 0.03 * ahead
    build.cone(pose.neck - 0.02 * up, throat, 0.062 * who.height / 1.75, 0.054, who.skin)
    crown = unit(0.72 * up - 0.69 * ahead)
    line = None if who.hair_style == "bald" else Paint(who.hair, skull, crown)
    build.cone(skull, jaw, r, 0.24 * size, who.skin, ((left, 0.80),), paint=line)
    for sign in (-1.0, 1.0):
        build.ball(skull + sign * 0.80 * r * left - 0.12 * size * up, 0.085 * size, who.skin, ((left, 0.45),))
        eye = skull + sign * 0.30 * r * left + 0.90 * r * ahead - 0.16 * r * up
        build.ball(eye, 0.052 * size, (0.08, 0.06, 0.06), ((left, 1.25),))
    nose = skull + 0.94 * r * ahead
    tip = nose + 0.1 * r * ahead - 0.5 * r * up
    tint = (0.93 * who.skin[0], 0.88 * who.skin[1], 0.86 * who.skin[2])
    build.cone(nose - 0.2 * r * up, tip, 0.03 * size, 0.06 * size, tint)
    if who.hair_style == "bald":
        return
    build.ball(skull + 0.14 * r * crown, 0.98 * r, who.hair, ((left, 0.85),))
    if who.hair_style == "long":
        nape = pose.neck - 0.075 * ahead + 0.01 * up
        build.cone(skull - 0.5 * r * ahead, nape, 0.62 * r, 0.42 * r, who.hair, ((left, 1.2),))
    elif who.hair_style == "bun":
        build.ball(skull + 1.12 * r * unit(0.6 * up - 0.8 * ahead), 0.42 * r, who.hair)


def _arm(build: Builder, pose: Pose, who: Subject, side: int) -> None:
    k = who.height / 1.75 * who.limb_girth
    shoulder, elbow, wrist, hand = pose.shoulder[side], pose.elbow[side], pose.wrist[side], pose.hand[side]
    upper, lower = unit(elbow - shoulder), unit(wrist - elbow)
    sleeve, thick = (who.skin, 0.051) if who.sleeve == "none" else (who.top, 0.056)
    cuff = Paint(who.skin, shoulder + 0.56 * who.upper_arm * upper, upper) if who.sleeve == "short" else None
    build.ball(shoulder + 0.01 * upper, 0.062 * k, sleeve)
    build.cone(shoulder + 0.02 * upper, elbow, thick * k, 0.040 * k, sleeve, paint=cuff)
    sleeve = who.top if who.sleeve == "long" else who.skin
    belly = elbow + 0.24 * who.forearm * lower
    build.cone(elbow, belly, 0.040 * k, 0.043 * k, sleeve)
    build.cone(belly, wrist, 0.043 * k, 0.029 * k, sleeve)
    fist = 0.033 * who.height / 1.75
    build.cone(wrist, hand - fist * lower, 0.027 * k, fist, who.skin)


def _leg(build: Builder, pose: Pose, who: Subject, side: int) -> None:
    k = who.height / 1.75 * who.limb_girth
    hip, knee, ankle = pose.hip[side], pose.knee[side], pose.ankle[side]
    upper, lower = unit(knee - hip), unit(ankle - knee)
    ahead, down = pose.foot(side)
    hem = Paint(who.skin, hip + 0.62 * who.thigh * upper, upper) if who.legs == "shorts" else None
    build.cone(hip, knee, 0.084 * k, 0.054 * k, who.bottom, paint=hem)
    calf = knee + 0.32 * who.shank * lower + 0.014 * k * square_to(-ahead, lower)
    shin = who.skin if who.legs == "shorts" else who.bottom
    cuff = Paint(who.skin, knee + 0.42 * who.shank * lower, lower) if who.legs == "capri" else None
    build.cone(knee, calf, 0.052 * k, 0.056 * k, shin)
    build.cone(calf, ankle, 0.056 * k, 0.036 * k, shin, paint=cuff)
    sole = Paint((0.9, 0.9, 0.88), ankle + 0.066 * down, down)
    heel, tip = ankle + 0.042 * down - 0.030 * ahead, pose.toe[side] - 0.031 * ahead - 0.010 * down
    build.cone(heel, tip, 0.038, 0.030, who.shoe, ((cross(down, ahead), 1.12),), paint=sole)
    build.cone(ankle - 0.01 * down, ankle + 0.5 * who.foot * ahead + 0.038 * down, 0.039, 0.030, who.shoe)
