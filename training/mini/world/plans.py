"""Body plans. Each builds its parts on a Body from the numbers of a Draws; every motion starts at rest at phase 0.

A plan is f(draws, body, strength); strength [B,1] scales the motion. PLANS lists name, nouns for prompts, verbs and f.
"""

import math

import torch

from .body import ACCENT, DARK, MAIN, NEUTRAL, PALE, SECOND


def _waves(body, strength):
    """sin θ, sin 2θ and a hump that is 0 at θ = 0 and 1 at π, all times the strength."""
    phase = body.phase
    return torch.sin(phase) * strength, torch.sin(2 * phase) * strength, (1 - torch.cos(phase)) / 2 * strength


def quadruped(d, b, strength):
    s, s2, hump = _waves(b, strength)
    walk = d.chance(0.7)  # else it nods and wags
    length, height, thick = d.between(0.55, 0.95), d.between(0.5, 0.95), d.between(0.26, 0.42)
    leg, leg_thick = height, d.between(0.09, 0.15)
    trunk = b.joint(b.root, (0, 0, leg + thick * 0.6 + walk * 0.05 * s2.abs()), y=walk * 0.04 * s2)
    b.part(trunk, (0, 0, 0), (length, thick, thick * d.between(0.9, 1.15)), MAIN)
    b.part(trunk, (length * 0.55, 0, 0.04), (thick * 1.02, thick * 0.98, thick * 1.05), MAIN)
    neck_up = d.between(0.15, 0.75)
    neck = b.joint(trunk, (length * 0.8, 0, thick * 0.4), y=(1 - walk) * 0.45 * hump + walk * 0.08 * s2, z=(1 - walk) * 0.3 * s)
    b.part(neck, (neck_up * 0.25, 0, neck_up * 0.5), (0.16, 0.16, 0.18 + neck_up * 0.5), MAIN, y=0.45)
    size = d.between(0.24, 0.36)
    head = b.joint(neck, (0.12 + neck_up * 0.5, 0, 0.1 + neck_up))
    b.part(head, (0, 0, 0), (size * 1.1, size, size), MAIN)
    snout = d.between(0.35, 0.8)
    b.part(head, (size * (0.75 + snout * 0.5), 0, -size * 0.25), (size * snout, size * 0.5, size * 0.45), SECOND)
    b.part(head, (size * (0.85 + snout * 1.3), 0, -size * 0.12), (size * 0.16,) * 3, DARK)
    ear, floppy = d.between(0.4, 1.1), d.chance(0.35)
    for side in (-1, 1):
        b.part(head, (-size * 0.2, side * size * (0.6 + 0.35 * floppy), size * (0.85 - 0.5 * floppy + ear * 0.3 * (1 - floppy))),
               (size * 0.2, size * 0.34, size * ear * 0.75), ACCENT, x=-side * (0.25 + 0.5 * floppy))
    b.eyes(head, size * 0.72, size * 0.52, size * 0.38, size * 0.27)
    tail = b.joint(trunk, (-length * 0.92, 0, thick * 0.4), y=d.between(-0.5, 1.1), z=0.7 * s2 * (1.2 - walk))
    tail_length = d.between(0.2, 0.5)
    b.part(tail, (-tail_length, 0, 0), (tail_length, 0.075, 0.075), MAIN)
    b.part(tail, (-tail_length * 2, 0, 0), (0.13, 0.1, 0.1), ACCENT)
    for side in (-1, 1):
        for front in (-1, 1):
            swing = walk * 0.6 * s * (side * front)
            b.limb(trunk, (front * length * 0.62, side * thick * 0.62, -thick * 0.35), leg, leg_thick, MAIN,
                   bend=walk * 0.5 * (swing < 0) * swing.abs() + 0 * s, y=-swing, end=((0.15, 0.11, 0.09), SECOND))


def biped(d, b, strength):
    s, s2, hump = _waves(b, strength)
    kind = d.choose(3)
    walk, wave, jump = ((kind == i).float() for i in range(3))
    height, width, depth = d.between(0.5, 0.8), d.between(0.32, 0.52), d.between(0.28, 0.42)
    leg = d.between(0.4, 0.75)
    trunk = b.joint(b.root, (0, 0, leg + height * 0.75 + jump * 0.5 * hump + walk * 0.04 * s2.abs()), z=walk * 0.1 * s)
    b.part(trunk, (0, 0, 0), (depth, width, height), MAIN)
    b.part(trunk, (depth * 0.3, 0, -height * 0.12), (depth * 0.78, width * 0.75, height * 0.72), SECOND, shown=d.chance(0.7))
    size = d.between(0.3, 0.46)
    head = b.joint(trunk, (depth * 0.2, 0, height * 0.85 + size * 0.6), x=wave * 0.15 * s, y=-0.1 * jump * hump)
    b.part(head, (0, 0, 0), (size * 0.95, size, size * d.between(0.85, 1.1)), MAIN)
    b.part(head, (size * 0.85, 0, -size * 0.25), (size * d.between(0.25, 0.6), size * 0.45, size * 0.32), SECOND)
    b.part(head, (size * 1.2, 0, -size * 0.08), (size * 0.15, size * 0.17, size * 0.14), DARK)
    ear, pointed = d.between(0.25, 0.5), d.chance(0.4)
    for side in (-1, 1):
        b.part(head, (0, side * size * 0.75, size * 0.78), (size * 0.2, size * ear * (1 - 0.4 * pointed), size * ear * (1 + 1.1 * pointed)),
               ACCENT, x=-side * 0.35)
    b.eyes(head, size * 0.78, size * 0.4, size * 0.24, size * 0.24)
    arm, arm_thick = d.between(0.55, 0.85), d.between(0.09, 0.14)
    for side in (-1, 1):
        swing = walk * 0.7 * s * side
        lift = wave * (side > 0) * (2.2 * hump + 0.35 * s2) + jump * 0.9 * hump
        b.limb(trunk, (0, side * width * 0.85, height * 0.6), arm, arm_thick, MAIN, bend=-0.35 - 0 * s, x=side * (0.35 + lift), y=swing,
               end=((0.12, 0.12, 0.12), ACCENT))
        stride = -walk * 0.6 * s * side
        b.limb(trunk, (0, side * width * 0.55, -height * 0.75), leg, arm_thick * 1.25, MAIN, bend=jump * 0.5 * (strength - hump) * hump + 0 * s,
               y=stride, end=((0.22, 0.13, 0.09), SECOND))


def bird(d, b, strength):
    s, s2, hump = _waves(b, strength)
    hop = d.chance(0.3)
    length, thick = d.between(0.5, 0.75), d.between(0.34, 0.48)
    leg = d.between(0.25, 0.6)
    trunk = b.joint(b.root, (0, 0, leg + thick + 0.2 * hump * (1 + hop)), y=d.between(-0.5, 0.0))
    b.part(trunk, (0, 0, 0), (length, thick, thick * 0.95), MAIN)
    b.part(trunk, (length * 0.2, 0, -thick * 0.22), (length * 0.75, thick * 0.82, thick * 0.82), SECOND)
    b.part(trunk, (-length * 1.1, 0, 0.05), (d.between(0.25, 0.5), thick * 0.5, 0.06), ACCENT, y=d.between(-0.1, 0.5))
    size = d.between(0.26, 0.36)
    head = b.joint(trunk, (length * 0.75, 0, thick * d.between(0.7, 1.5)), y=-0.2 + 0.25 * hop * s2)
    b.part(head, (0, 0, 0), (size, size * 0.95, size * 0.95), MAIN)
    b.part(trunk, (length * 0.6, 0, thick * 0.6), (size * 0.7, size * 0.7, thick * 0.8), MAIN)
    beak = d.between(0.5, 1.2)
    b.part(head, (size * (0.8 + beak * 0.5), 0, -size * 0.1), (size * beak, size * 0.26, size * 0.24), ACCENT)
    b.part(head, (-size * 0.2, 0, size * 1.0), (size * 0.45, size * 0.12, size * 0.45), ACCENT, shown=d.chance(0.4))
    b.eyes(head, size * 0.6, size * 0.6, size * 0.3, size * 0.28)
    span = d.between(0.45, 0.75)
    for side in (-1, 1):
        flap = 1.0 - (1 - hop) * (1.6 * hump) - hop * 0.5 * hump
        wing = b.joint(trunk, (0.05, side * thick * 0.8, thick * 0.35), x=-side * flap)
        b.part(wing, (-0.08, side * span * 0.55, 0), (0.34, span * 0.6, 0.06), MAIN)
        tip = b.joint(wing, (-0.08, side * span, 0), x=-side * (0.3 - 0.5 * hump))
        b.part(tip, (-0.06, side * span * 0.4, 0), (0.25, span * 0.5, 0.05), SECOND)
        b.part(trunk, (-0.05, side * thick * 0.4, -thick * 0.9 - leg * 0.4), (0.065, 0.065, leg * 0.6), ACCENT)
        b.part(trunk, (0.05, side * thick * 0.4, -thick * 0.9 - leg * 0.95), (0.16, 0.1, 0.04), ACCENT)


def fish(d, b, strength):
    s, s2, hump = _waves(b, strength)
    length, tall, thick = d.between(0.75, 1.0), d.between(0.38, 0.65), d.between(0.2, 0.36)
    trunk = b.joint(b.root, (0, 0, 0.1 * hump), z=0.22 * s)
    b.part(trunk, (0, 0, 0), (length * 0.72, thick, tall), MAIN)
    b.part(trunk, (length * 0.42, 0, -0.02), (length * 0.42, thick * 0.85, tall * 0.72), SECOND)
    rear = b.joint(trunk, (-length * 0.5, 0, 0), z=-0.5 * s)
    b.part(rear, (-length * 0.2, 0, 0), (length * 0.42, thick * 0.6, tall * 0.5), MAIN)
    fin = b.joint(rear, (-length * 0.55, 0, 0), z=-0.55 * s)
    lobe = d.between(0.3, 0.55)
    for up in (-1, 1):
        b.part(fin, (-lobe * 0.45, 0, up * lobe * 0.45), (lobe * 0.65, 0.05, lobe * 0.32), ACCENT, y=up * 0.8)
    b.part(trunk, (-length * 0.1, 0, tall * 0.95), (length * 0.4, 0.05, d.between(0.15, 0.4)), ACCENT, y=0.25)
    b.part(trunk, (-length * 0.2, 0, -tall * 0.9), (length * 0.25, 0.05, 0.18), ACCENT, y=-0.3)
    for side in (-1, 1):
        flap = b.joint(trunk, (length * 0.2, side * thick * 0.85, -tall * 0.2), z=side * (0.6 - 0.5 * s2), x=-side * 0.5)
        b.part(flap, (-0.2, side * 0.05, 0), (0.26, 0.05, 0.14), ACCENT)
    b.part(trunk, (length * 0.8, 0, -tall * 0.12), (0.1, thick * 0.4, 0.1), ACCENT)
    b.eyes(trunk, length * 0.55, thick * 0.66, tall * 0.25, d.between(0.1, 0.16))


def snake(d, b, strength):
    s, _, hump = _waves(b, strength)
    thick, count = d.between(0.17, 0.27), 9
    gap = thick * d.between(1.15, 1.4)
    waviness, upright = d.between(0.2, 0.55), d.chance(0.5)  # a raised head, or a caterpillar's arching back
    turns = d.between(0.8, 1.3)
    for i in range(count):
        x = (i - count / 2) * gap
        lag = turns * 2 * math.pi * i / count
        y = waviness * (torch.sin(b.phase * strength.clamp(max=1) + lag)) * (0.6 + 0.4 * strength)
        z = thick + (1 - upright) * 0.28 * strength * ((1 - torch.cos(b.phase + lag)) / 2) * (0 < i < count - 1)
        size = thick * (0.55 + 0.45 * math.sin(math.pi * (0.15 + 0.75 * i / count)))
        b.part(b.root, (x, y, z), (gap * 0.85, size, size), MAIN)
    last = turns * 2 * math.pi * (count - 1) / count
    y = waviness * torch.sin(b.phase * strength.clamp(max=1) + last) * (0.6 + 0.4 * strength)
    lift = thick * (1.3 + 1.8 * upright)
    b.part(b.root, ((count / 2 - 0.35) * gap, y, thick + lift * 0.4), (thick * 0.8, thick * 0.75, thick * (0.9 + 0.9 * upright)), MAIN)
    head = b.joint(b.root, (count / 2 * gap, y, thick + lift), z=0.3 * s)
    size = thick * d.between(1.15, 1.5)
    b.part(head, (0, 0, 0), (size * 1.15, size, size * 0.9), SECOND)
    b.part(head, (size * 1.3, 0, -size * 0.15), (size * 0.5, size * 0.12, size * 0.06), ACCENT, shown=d.chance(0.5))
    feelers = d.chance(0.5)
    for side in (-1, 1):
        b.part(head, (0.1, side * size * 0.5, size * 1.15), (0.04, 0.04, size * 0.5), ACCENT, shown=feelers, x=-side * 0.35)
        b.part(head, (0.1, side * size * 0.72, size * 1.6), (0.08, 0.08, 0.08), ACCENT, shown=feelers)
    b.eyes(head, size * 0.7, size * 0.55, size * 0.42, size * 0.3)


def insect(d, b, strength):
    s, s2, hump = _waves(b, strength)
    leg = d.between(0.5, 0.85)
    trunk = b.joint(b.root, (0, 0, leg * 0.75 + 0.05 * s2), z=0.06 * s)
    abdomen = d.between(0.4, 0.65)
    b.part(trunk, (-abdomen * 0.9, 0, 0.08), (abdomen, abdomen * 0.68, abdomen * d.between(0.55, 0.75)), MAIN, y=0.15 + 0.12 * s2)
    b.part(trunk, (0.15, 0, 0), (0.3, 0.26, 0.24), SECOND)
    size = d.between(0.2, 0.32)
    head = b.joint(trunk, (0.4 + size * 0.6, 0, 0.05), z=0.2 * s)
    b.part(head, (0, 0, 0), (size, size, size * 0.9), MAIN)
    for side in (-1, 1):
        b.part(head, (size * 0.7, side * size * 0.5, size * 0.95), (0.045, 0.045, size * 0.7), DARK, x=-side * 0.3, y=0.5)
        b.part(trunk, (-0.35, side * 0.3, 0.36), (0.5, 0.2, 0.035), PALE, shown=1.0, x=side * (0.25 + 0.6 * hump), z=-side * 0.35)
        for row, x in enumerate((-0.22, 0.12, 0.42)):
            step = 0.45 * s * (1 if (row % 2 == 0) == (side > 0) else -1)
            hip = b.joint(trunk, (x, side * 0.2, 0), z=side * 0.45 * (row - 1) * -1 + step)
            b.part(hip, (0, side * leg * 0.28, leg * 0.12), (0.07, leg * 0.32, 0.07), ACCENT, x=side * 0.35)
            b.part(hip, (0, side * leg * 0.62, -leg * 0.22), (0.06, 0.06, leg * 0.46), ACCENT, x=side * 0.3)
    b.eyes(head, size * 0.55, size * 0.55, size * 0.35, size * 0.34)


def robot(d, b, strength):
    s, s2, hump = _waves(b, strength)
    kind = d.choose(3)
    march, wave, spin = ((kind == i).float() for i in range(3))
    height, width, depth = d.between(0.4, 0.6), d.between(0.3, 0.5), d.between(0.22, 0.36)
    leg = d.between(0.4, 0.65)
    trunk = b.joint(b.root, (0, 0, leg + height), z=spin * 0.5 * s)
    b.part(trunk, (0, 0, 0), (depth, width, height), MAIN, kind="box")
    b.part(trunk, (depth, 0, height * 0.2), (0.05, width * 0.5, height * 0.3), SECOND)
    for i in (-1, 0, 1):
        b.part(trunk, (depth, i * width * 0.45, -height * 0.5), (0.05, 0.075, 0.075), ACCENT)
    size = d.between(0.24, 0.36)
    head = b.joint(trunk, (0, 0, height + size * 1.05), z=0.45 * s * (1 - spin))
    b.part(head, (0, 0, 0), (size, size * d.between(0.9, 1.3), size * 0.85), SECOND, kind="box")
    b.part(head, (0, 0, size * 1.2), (0.04, 0.04, size * 0.5), NEUTRAL)
    b.part(head, (0, 0, size * 1.75), (0.1, 0.1, 0.1), ACCENT)
    for side in (-1, 1):
        b.part(head, (size * 0.95, side * size * 0.45, size * 0.15), (0.1, size * 0.26, size * 0.26), PALE)
        b.part(head, (size * 1.07, side * size * 0.45, size * 0.15), (0.06, size * 0.13, size * 0.13), DARK)
        arm = b.joint(trunk, (0, side * (width + 0.12), height * 0.7), x=side * (0.12 + wave * (side > 0) * (2.3 * hump + 0.3 * s2)),
                      y=march * 0.7 * s * side)
        length = height * 0.75
        b.part(arm, (0, 0, -length), (0.1, 0.1, length), NEUTRAL, kind="box")
        b.part(arm, (0, 0, -length * 2), (0.15, 0.15, 0.15), ACCENT)
        hip = b.joint(trunk, (0, side * width * 0.55, -height), y=-march * 0.55 * s * side)
        b.part(hip, (0, 0, -leg * 0.45), (0.12, 0.12, leg * 0.5), NEUTRAL, kind="box")
        b.part(hip, (0.06, 0, -leg * 0.95), (0.22, 0.15, 0.08), MAIN, kind="box")


def mushroom(d, b, strength):
    s, s2, hump = _waves(b, strength)
    stem, thick = d.between(0.4, 0.8), d.between(0.2, 0.4)
    foot = b.joint(b.root, (0, 0, 0), x=0.22 * s)
    b.part(foot, (0, 0, stem * 0.5), (thick, thick, stem * 0.75), PALE)
    b.part(foot, (0, 0, 0.06), (thick * 1.15, thick * 1.15, 0.16), PALE)
    cap = b.joint(foot, (0, 0, stem * 1.05), x=0.2 * s, y=0.12 * s2)
    radius, tall = d.between(0.65, 1.0), d.between(0.3, 0.6)
    b.part(cap, (0, 0, tall * 0.2), (radius, radius, tall), MAIN)
    b.part(cap, (0, 0, -tall * 0.35), (radius * 0.93, radius * 0.93, tall * 0.5), SECOND)
    dots = d.chance(0.6)
    for i in range(7):
        angle = d.angle() * 0.3 + 2 * math.pi * i / 6
        up = d.between(0.45, 0.7) if i else d.between(1.45, 1.57)
        b.part(cap, (torch.cos(angle) * torch.cos(up) * radius, torch.sin(angle) * torch.cos(up) * radius, tall * (0.2 + torch.sin(up))),
               (0.12, 0.12, 0.09), ACCENT, shown=dots)
    for side in (-1, 1):
        b.part(foot, (thick * 0.93, side * thick * 0.38, stem * 0.62), (0.05, 0.07, 0.1), DARK)
    small = d.chance(0.5)
    cub = b.joint(b.root, (0.2, thick + d.between(0.2, 0.4), 0), x=-0.25 * s)
    b.part(cub, (0, 0, 0.16), (0.11, 0.11, 0.26), PALE, shown=small)
    b.part(cub, (0, 0, 0.4), (0.27, 0.27, 0.17), MAIN, shown=small)


def flower(d, b, strength):
    s, s2, hump = _waves(b, strength)
    stem = d.between(0.35, 0.6)
    b.part(b.root, (0, 0, 0.25), (0.28, 0.28, 0.25), SECOND, kind="box")
    b.part(b.root, (0, 0, 0.52), (0.34, 0.34, 0.06), SECOND, kind="box")
    low = b.joint(b.root, (0, 0, 0.5), x=0.18 * s)
    b.part(low, (0, 0, stem * 0.4), (0.07, 0.07, stem * 0.6), NEUTRAL)
    high = b.joint(low, (0, 0, stem * 0.85), x=0.25 * s)
    b.part(high, (0, 0, stem * 0.4), (0.065, 0.065, stem * 0.6), NEUTRAL)
    for side in (-1, 1):
        b.part(low, (0, side * 0.25, stem * 0.45), (0.13, 0.27, 0.05), ACCENT, x=side * (0.5 + 0.2 * s2))
    bloom = b.joint(high, (0, 0, stem * 0.95), y=d.between(0.5, 1.3), z=0.8 * s * d.chance(0.6))
    core, petal = d.between(0.17, 0.3), d.between(0.28, 0.48)
    b.part(bloom, (0, 0, 0.06), (core, core, core * 0.7), ACCENT)
    open_ = 0.15 + 0.3 * hump
    for i in range(8):
        ring = b.joint(bloom, (0, 0, 0), z=2 * math.pi * i / 8 + 0 * s, y=-open_)
        b.part(ring, (core * 0.8 + petal * 0.6, 0, 0), (petal * 0.75, petal * 0.42, 0.08), MAIN)
    for side in (-1, 1):
        b.part(bloom, (core * 0.1, side * core * 0.4, core * 0.66), (0.05, 0.045, 0.05), DARK)


def vehicle(d, b, strength):
    s, s2, hump = _waves(b, strength)
    length, width, tall = d.between(0.7, 1.0), d.between(0.36, 0.5), d.between(0.18, 0.3)
    wheel = d.between(0.2, 0.3)
    chassis = b.joint(b.root, (0, 0, wheel * 1.1 + tall + 0.1 * hump), y=0.09 * s2, x=0.06 * s)
    b.part(chassis, (0, 0, 0), (length, width, tall), MAIN, kind="box")
    cabin, back = d.between(0.25, 0.55), d.between(-0.4, 0.4)
    room = d.between(0.18, 0.34)
    b.part(chassis, (back * length, 0, tall + room), (cabin * length, width * 0.88, room), SECOND, kind="box")
    b.part(chassis, (back * length, 0, tall + room * 1.1), (cabin * length * 1.02, width * 0.7, room * 0.55), DARK, kind="box")
    b.part(chassis, (back * length, 0, tall + room * 2), (cabin * length * 0.8, width * 0.7, 0.07), ACCENT, kind="box")
    b.part(chassis, (length, 0, -tall * 0.6), (0.06, width * 1.02, 0.06), NEUTRAL, kind="box")
    b.part(chassis, (-length, 0, -tall * 0.6), (0.06, width * 1.02, 0.06), NEUTRAL, kind="box")
    for side in (-1, 1):
        b.part(chassis, (length * 1.0, side * width * 0.65, tall * 0.15), (0.07, 0.11, 0.1), PALE)
        b.part(chassis, (-length * 1.0, side * width * 0.65, tall * 0.15), (0.05, 0.09, 0.09), ACCENT)
        for front in (-1, 1):
            axle = b.joint(b.root, (front * length * 0.62, side * width, wheel), y=1.3 * (1 - torch.cos(b.phase)) * strength)
            b.part(axle, (0, 0, 0), (wheel, 0.12, wheel), DARK)
            b.part(axle, (0, side * 0.08, 0), (wheel * 0.55, 0.08, wheel * 0.55), NEUTRAL)
            b.part(axle, (wheel * 0.32, side * 0.13, 0), (wheel * 0.2, 0.05, wheel * 0.12), ACCENT)


def snowman(d, b, strength):
    s, s2, hump = _waves(b, strength)
    jump = d.chance(0.4)
    r1, r2, r3 = d.between(0.48, 0.64), d.between(0.36, 0.48), d.between(0.27, 0.36)
    base = b.joint(b.root, (0, 0, r1 + jump * 0.35 * hump), x=(1 - jump) * 0.2 * s)
    b.part(base, (0, 0, 0), (r1, r1, r1 * 0.92), MAIN)
    chest = b.joint(base, (0, 0, r1 * 0.75 + r2 * 0.6), x=0.16 * s)
    b.part(chest, (0, 0, 0), (r2, r2, r2 * 0.95), SECOND)
    head = b.joint(chest, (0, 0, r2 * 0.75 + r3 * 0.65), x=0.16 * s, z=0.5 * s)
    b.part(head, (0, 0, 0), (r3, r3, r3), MAIN)
    b.part(head, (r3 * 1.25, 0, -r3 * 0.05), (r3 * 0.6, r3 * 0.16, r3 * 0.16), ACCENT)
    hat = d.chance(0.65)
    b.part(head, (0, 0, r3 * 0.75), (r3 * 1.05, r3 * 1.05, 0.05), DARK, shown=hat)
    b.part(head, (0, 0, r3 * 1.15), (r3 * 0.6, r3 * 0.6, r3 * 0.5), ACCENT, kind="box", shown=hat)
    b.eyes(head, r3 * 0.8, r3 * 0.4, r3 * 0.25, r3 * 0.22)
    for i in (-1, 0, 1):
        b.part(chest, (r2 * (0.97 - 0.1 * abs(i)), 0, i * r2 * 0.45), (0.05, 0.055, 0.055), DARK)
    for side in (-1, 1):
        arm = b.joint(chest, (0, side * r2 * 0.85, r2 * 0.2), x=side * (-0.25 + 0.7 * s * side + jump * 0.5 * hump))
        b.part(arm, (0, side * 0.28, 0), (0.05, 0.32, 0.05), NEUTRAL)
        b.part(arm, (0, side * 0.6, 0), (0.1, 0.1, 0.1), ACCENT)


def octopus(d, b, strength):
    s, s2, hump = _waves(b, strength)
    size, arm = d.between(0.4, 0.55), d.between(0.45, 0.75)
    trunk = b.joint(b.root, (0, 0, arm * 0.75 + 0.3 * hump))
    squeeze = 1 - 0.12 * hump
    b.part(trunk, (0, 0, size * 0.7), (size * squeeze, size * squeeze, size * d.between(1.0, 1.4)), MAIN, y=d.between(-0.25, 0.1))
    b.part(trunk, (0.04, 0, 0.05), (size * 0.72, size * 0.72, size * 0.5), SECOND)
    b.eyes(trunk, size * 0.72, size * 0.48, size * 0.5, size * 0.26)
    spread = d.between(0.6, 1.0)
    for i in range(8):
        turn = 2 * math.pi * (i + 0.5) / 8
        swing = 0.4 * torch.sin(b.phase + i * math.pi / 2) * strength - 0.4 * math.sin(i * math.pi / 2) * strength - 0.35 * hump
        hip = b.joint(trunk, (0, 0, 0), z=turn + 0 * s)
        upper = b.joint(hip, (size * 0.5, 0, 0), y=-spread - swing + 0.25)
        b.part(upper, (0, 0, -arm * 0.3), (0.12, 0.12, arm * 0.4), MAIN)
        lower = b.joint(upper, (0, 0, -arm * 0.6), y=-0.5 - swing * 0.6)
        b.part(lower, (0, 0, -arm * 0.28), (0.085, 0.085, arm * 0.38), ACCENT)


def teapot(d, b, strength):
    s, s2, hump = _waves(b, strength)
    radius, tall = d.between(0.5, 0.7), d.between(0.42, 0.62)
    pot = b.joint(b.root, (0, 0, tall + 0.12 * hump), y=0.3 * s)
    b.part(pot, (0, 0, 0), (radius, radius, tall), MAIN)
    b.part(pot, (0, 0, -tall * 0.9), (radius * 0.62, radius * 0.62, 0.1), SECOND)
    lid = b.joint(pot, (0, 0, tall * 0.92 + 0.14 * hump), y=-0.25 * hump)
    b.part(lid, (0, 0, 0), (radius * 0.52, radius * 0.52, 0.12), SECOND)
    b.part(lid, (0, 0, 0.16), (0.1, 0.1, 0.1), ACCENT)
    length = d.between(0.3, 0.5)
    for i in range(4):
        share = i / 3
        b.part(pot, (radius * 0.85 + length * share, 0, -0.18 + (0.55 + 0.2 * length) * share ** 1.3), (0.17 - 0.025 * i, 0.15 - 0.02 * i, 0.16 - 0.015 * i), SECOND,
               y=-0.7)
    for i in range(7):
        angle = math.pi * (-0.42 + 0.84 * i / 6)
        b.part(pot, (-radius * 0.9 - 0.36 * math.cos(angle), 0, 0.06 + 0.36 * math.sin(angle)), (0.075, 0.075, 0.11), ACCENT, y=angle)
    face = d.chance(0.5)
    for side in (-1, 1):
        b.part(pot, (radius * 0.55, side * radius * 0.72, tall * 0.35), (0.09, 0.09, 0.11), PALE, shown=face)
        b.part(pot, (radius * 0.62, side * radius * 0.79, tall * 0.35), (0.05, 0.05, 0.06), DARK, shown=face)


def butterfly(d, b, strength):
    s, s2, hump = _waves(b, strength)
    trunk = b.joint(b.root, (0, 0, 0.25 * hump), y=d.between(-1.15, -0.45))
    b.part(trunk, (0.1, 0, 0), (0.28, 0.14, 0.14), NEUTRAL)
    b.part(trunk, (-0.45, 0, -0.02), (0.42, 0.11, 0.11), DARK)
    b.part(trunk, (0.45, 0, 0.05), (0.17, 0.16, 0.16), NEUTRAL)
    b.eyes(trunk, 0.52, 0.11, 0.1, 0.07)
    span, lift = d.between(0.65, 0.95), d.between(0.1, 0.5)
    for side in (-1, 1):
        b.part(trunk, (0.65, side * 0.12, 0.22), (0.025, 0.025, 0.2), DARK, x=-side * 0.4, y=0.5)
        wing = b.joint(trunk, (0.08, side * 0.08, 0.05), x=side * (lift + 1.0 * hump))
        b.part(wing, (0.28, side * span * 0.6, 0), (0.46, span * 0.62, 0.04), MAIN, z=side * 0.45)
        b.part(wing, (0.36, side * span * 0.72, 0), (0.15, 0.17, 0.06), ACCENT, z=side * 0.45)
        b.part(wing, (-0.35, side * span * 0.45, 0), (0.36, span * 0.45, 0.04), SECOND, z=-side * 0.5)
        b.part(wing, (-0.4, side * span * 0.5, 0), (0.12, 0.13, 0.055), ACCENT)


def turtle(d, b, strength):
    s, s2, hump = _waves(b, strength)
    length, width, tall = d.between(0.6, 0.85), d.between(0.5, 0.68), d.between(0.32, 0.58)
    trunk = b.joint(b.root, (0, 0, 0.32 + 0.03 * s2.abs()), x=0.06 * s)
    b.part(trunk, (0, 0, 0.05), (length, width, tall), MAIN)
    b.part(trunk, (0, 0, 0.0), (length * 1.1, width * 1.1, 0.13), ACCENT)
    b.part(trunk, (0, 0, -0.1), (length * 0.95, width * 0.95, 0.16), SECOND)
    neck = b.joint(trunk, (length * 0.95, 0, 0.02), z=0.35 * s, y=-0.2 - 0.2 * hump)
    b.part(neck, (0.15, 0, 0.04), (0.25, 0.13, 0.13), SECOND)
    size = d.between(0.2, 0.29)
    head = b.joint(neck, (0.34 + size * 0.5, 0, 0.14))
    b.part(head, (0, 0, 0), (size * 1.15, size, size * 0.9), SECOND)
    b.eyes(head, size * 0.6, size * 0.55, size * 0.35, size * 0.3)
    b.part(trunk, (-length * 1.1, 0, -0.1), (0.2, 0.08, 0.07), SECOND, z=0.5 * s)
    for side in (-1, 1):
        for front in (-1, 1):
            hip = b.joint(trunk, (front * length * 0.62, side * width * 0.75, -0.12), z=0.5 * s * side * front, x=side * 0.5)
            b.part(hip, (0.05 * front, side * 0.1, -0.12), (0.16, 0.14, 0.24), SECOND)
            b.part(hip, (0.09, side * 0.1, -0.3), (0.15, 0.12, 0.08), ACCENT)


# name, nouns, verbs, plan
PLANS = [
    ("quadruped", ("dog", "quadruped", "four-legged animal"), ("walking", "trotting"), quadruped),
    ("biped", ("bear", "biped", "two-legged animal"), ("walking", "waving"), biped),
    ("bird", ("bird",), ("flapping", "hopping"), bird),
    ("fish", ("fish",), ("swimming",), fish),
    ("snake", ("snake", "caterpillar"), ("crawling",), snake),
    ("insect", ("insect", "beetle", "bug"), ("crawling", "walking"), insect),
    ("robot", ("robot",), ("marching", "waving"), robot),
    ("mushroom", ("mushroom",), ("wobbling",), mushroom),
    ("flower", ("flower",), ("swaying", "blooming"), flower),
    ("vehicle", ("car", "truck", "vehicle"), ("driving", "bouncing"), vehicle),
    ("snowman", ("snowman",), ("rocking", "jumping"), snowman),
    ("octopus", ("octopus",), ("swimming", "waving"), octopus),
    ("teapot", ("teapot",), ("rocking",), teapot),
    ("butterfly", ("butterfly",), ("flapping", "flying"), butterfly),
    ("turtle", ("turtle",), ("walking", "crawling"), turtle),
]
