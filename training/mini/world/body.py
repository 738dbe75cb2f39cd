"""Animated bodies as lists of primitives: ellipsoids and boxes that hang on moving frames."""

import torch

ELLIPSOIDS, BOXES = 26, 8  # slots of every scene; unused ones are invisible
PARTS = ELLIPSOIDS + BOXES
PAINTS = 6  # slots of paint.palette
MAIN, SECOND, ACCENT, DARK, PALE, NEUTRAL = range(PAINTS)


def rotation(axis, angle):
    """Rotation matrices [...,3,3] about x, y or z; angle: any shape."""
    c, s = torch.cos(angle), torch.sin(angle)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    rows = {
        "x": (one, zero, zero, zero, c, -s, zero, s, c),
        "y": (c, zero, s, zero, one, zero, -s, zero, c),
        "z": (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).reshape(*c.shape, 3, 3)


class Frame:
    """A moving coordinate system: matrix [B,T,3,3] and origin [B,T,3]."""

    def __init__(self, matrix, origin):
        self.matrix, self.origin = matrix, origin

    def point(self, offset):
        return self.origin + (self.matrix @ offset[..., None])[..., 0]


class Body:
    """Collects the parts of B creatures of one plan at T moments. Axes: x forward, y left, z up."""

    def __init__(self, phase):
        """phase: [B,T], radians of the motion's cycle."""
        self.phase = phase
        self.shape = phase.shape
        self._parts = {"ellipsoid": [], "box": []}
        eye = torch.eye(3, device=phase.device).expand(*phase.shape, 3, 3)
        self.root = Frame(eye, torch.zeros(*phase.shape, 3, device=phase.device))

    def full(self, value):
        """A number, [B,1] or [B,T] as [B,T]."""
        if not torch.is_tensor(value):
            value = torch.full((1, 1), float(value), device=self.phase.device)
        return value.expand(self.shape)

    def vector(self, x, y, z):
        return torch.stack([self.full(x), self.full(y), self.full(z)], -1)

    def joint(self, parent, offset, **turns):
        """A frame at `offset` (x,y,z) in `parent`, turned by x=, y=, z= radians in the order given."""
        matrix = parent.matrix
        for axis, angle in turns.items():
            matrix = matrix @ rotation(axis, self.full(angle))
        return Frame(matrix, parent.point(self.vector(*offset)))

    def part(self, frame, offset, radii, paint, kind="ellipsoid", shown=1.0, **turns):
        """An ellipsoid (or box) with these half axes at `offset` in `frame`; shown 0: it does not exist."""
        at = self.joint(frame, offset, **turns)
        half = self.vector(*radii) * self.full(shown)[..., None]
        self._parts[kind].append((at.origin, at.matrix, half.clamp(min=1e-4), paint))

    def limb(self, frame, offset, length, thickness, paint, bend=0.0, shown=1.0, end=None, **turns):
        """Two segments hanging down from a joint, the lower one bent by `bend` about y; `end`: (radii, paint)."""
        upper = self.joint(frame, offset, **turns)
        self.part(upper, (0, 0, -length * 0.25), (thickness, thickness, length * 0.32), paint, shown=shown)
        lower = self.joint(upper, (0, 0, -length * 0.5), y=bend)
        self.part(lower, (0, 0, -length * 0.25), (thickness * 0.85, thickness * 0.85, length * 0.3), paint, shown=shown)
        if end is not None:
            radii, end_paint = end
            self.part(lower, (radii[0] * 0.35, 0, -length * 0.5), radii, end_paint, shown=shown)

    def eyes(self, head, forward, side, up, size):
        for sign in (-1, 1):
            self.part(head, (forward, side * sign, up), (size * 0.6, size, size), PALE)
            self.part(head, (forward + size * 0.42, side * sign * 1.06, up), (size * 0.42, size * 0.6, size * 0.6), DARK)

    def parts(self):
        """centers [B,T,P,3], matrices [B,T,P,3,3] (columns are the part's axes), half axes [B,T,P,3], paints [P]:
        the ellipsoids first, then the boxes, both filled up to their slots with invisible ones."""
        columns = []
        for kind, slots in (("ellipsoid", ELLIPSOIDS), ("box", BOXES)):
            parts = self._parts[kind]
            assert len(parts) <= slots, f"{len(parts)} parts of kind {kind}, {slots} slots"
            far = torch.tensor([0.0, 0.0, -50.0], device=self.phase.device).expand(*self.shape, 3)
            nothing = (far, self.root.matrix, torch.full_like(far, 1e-4), MAIN)
            columns += parts + [nothing] * (slots - len(parts))
        stack = lambda i: torch.stack([c[i] for c in columns], 2)
        return stack(0), stack(1), stack(2), [c[3] for c in columns]
