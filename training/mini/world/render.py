"""Ray caster: cameras on an orbit look at scenes of ellipsoids and boxes. Plain PyTorch; compiled where that is possible."""

import math
from dataclasses import dataclass

import torch

from ..compat import compiled
from .body import ELLIPSOIDS, PARTS
from .paint import surface_color

RADIUS = 4.0
FOV_X = 0.6911112070083618
FAR = 1e4


@dataclass
class Rays:
    origin: torch.Tensor  # [N,3]
    corner: torch.Tensor  # [N,3]: direction through the picture's centre
    right: torch.Tensor  # [N,3]: change of the direction for one unit of u
    down: torch.Tensor  # [N,3]


def orbit_rays(azimuth, elevation):
    """Radians, [N] each: cameras at RADIUS around the origin, z up, azimuth counter-clockwise seen from above."""
    ca, sa, ce, se = torch.cos(azimuth), torch.sin(azimuth), torch.cos(elevation), torch.sin(elevation)
    back = torch.stack([ce * ca, ce * sa, se], -1)
    right = torch.stack([-sa, ca, torch.zeros_like(sa)], -1)
    up = torch.stack([-se * ca, -se * sa, ce], -1)
    spread = math.tan(FOV_X / 2)
    return Rays(back * RADIUS, -back, right * spread, -up * spread)


def _nearest(origin, along, right, down, u, v):
    """origin … down: [N,P,3] in the parts' unit coordinates; u, v [S] → distance [N,S], part [N,S]."""
    count = origin.shape[0]
    best = torch.full((count, u.shape[0]), FAR, device=u.device)
    index = torch.zeros((count, u.shape[0]), dtype=torch.int32, device=u.device)
    # |o + t·d|² = 1 with d = a + u·r + v·w: b = o·d is linear in (u,v), d·d quadratic.
    dot = lambda x, y: (x * y).sum(-1)
    oo, oa, orr, ow = dot(origin, origin) - 1, dot(origin, along), dot(origin, right), dot(origin, down)
    aa, rr, ww = dot(along, along), dot(right, right), dot(down, down)
    ar, aw, rw = 2 * dot(along, right), 2 * dot(along, down), 2 * dot(right, down)
    for p in range(ELLIPSOIDS):
        at = lambda x: x[:, p, None]
        half = at(oa) + at(orr) * u + at(ow) * v
        square = at(aa) + u * (at(ar) + at(rr) * u + at(rw) * v) + v * (at(aw) + at(ww) * v)
        under = half * half - square * at(oo)
        t = (-half - torch.sqrt(under.clamp(min=0))) / square
        closer = (under > 0) & (t < best)
        best = torch.where(closer, t, best)
        index = torch.where(closer, p, index)
    for p in range(ELLIPSOIDS, PARTS):
        enter = torch.full_like(best, -FAR)
        leave = torch.full_like(best, FAR)
        for axis in range(3):
            at = lambda x: x[:, p, axis, None]
            d = at(along) + at(right) * u + at(down) * v
            inverse = 1 / torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
            t1, t2 = (-1 - at(origin)) * inverse, (1 - at(origin)) * inverse
            enter = torch.maximum(enter, torch.minimum(t1, t2))
            leave = torch.minimum(leave, torch.maximum(t1, t2))
        closer = (enter < leave) & (enter > 0) & (enter < best)
        best = torch.where(closer, enter, best)
        index = torch.where(closer, p, index)
    return best, index


def _shade(t, index, origin, along, right, down, to_unit, half_axes, paints, light, u, v):
    """The parts' rows are gathered per sample → colours [N,S,3]; white where nothing was hit."""
    n, s = t.shape
    row = index.long()[..., None]
    take = lambda x: torch.gather(x, 1, row.expand(n, s, x.shape[-1]))
    distance = torch.where(t < FAR, t, torch.ones_like(t))[..., None]
    unit = take(origin) + distance * (take(along) + take(right) * u[:, None] + take(down) * v[:, None])
    # Outward direction in unit coordinates: of the sphere, or of the cube's face that was hit.
    size = unit.abs()
    face = (size >= size.amax(-1, keepdim=True) - 1e-6).float() * torch.sign(unit)
    outward = torch.where(index[..., None] < ELLIPSOIDS, unit, face)
    matrix = take(to_unit.flatten(2)).view(n, s, 3, 3)
    normal = (outward[..., None, :] @ matrix)[..., 0, :]
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    color = surface_color(take(paints), unit * take(half_axes))
    diffuse = (normal * light[:, None]).sum(-1).clamp(min=0)
    brightness = 0.56 + 0.17 * normal[..., 2] + 0.4 * diffuse
    color = (color * brightness[..., None]).clamp(0, 1)
    return torch.where((t < FAR)[..., None], color, torch.ones_like(color))


_nearest_fast = compiled(_nearest)
_shade_fast = compiled(_shade)


def render(scene, which, moment, azimuth, elevation, side=128, samples=2, chunk=None):
    """Pictures of scene creature `which` [N] at its moment `moment` [N] from azimuth, elevation [N] radians → uint8
    [N,side,side,3]. samples: rays per pixel in each direction. chunk: pictures at a time (the last one is padded, so that compiled
    code sees one shape)."""
    device = azimuth.device
    chunk = chunk or (64 if device.type == "cuda" else 8)
    steps = (torch.arange(side * samples, device=device) + 0.5) / (side * samples) * 2 - 1
    v, u = (x.reshape(-1) for x in torch.meshgrid(steps, steps, indexing="ij"))
    pictures = torch.empty(len(which), side, side, 3, dtype=torch.uint8, device=device)
    for begin in range(0, len(which), chunk):
        end = min(begin + chunk, len(which))
        rows = torch.arange(begin, begin + chunk, device=device).clamp(max=len(which) - 1)
        w, m = which[rows], moment[rows]
        rays = orbit_rays(azimuth[rows], elevation[rows])
        matrix, center = scene.to_unit[w, m], scene.centers[w, m]
        into = lambda x: (matrix @ x[..., None])[..., 0]
        origin = into(rays.origin[:, None] - center)
        along, right, down = (into(x[:, None]) for x in (rays.corner, rays.right, rays.down))
        t, index = _nearest_fast(origin, along, right, down, u, v)
        color = _shade_fast(t, index, origin, along, right, down, matrix, scene.half_axes[w], scene.paints[w], scene.light[w], u, v)
        color = color.view(chunk, side, samples, side, samples, 3).mean((2, 4))
        pictures[begin:end] = (color * 255 + 0.5).to(torch.uint8)[: end - begin]
    return pictures
