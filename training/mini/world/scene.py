"""Creatures of given seeds at given moments, as primitives in a world where everyone fills the picture alike."""

import math
from dataclasses import dataclass

import torch

from . import paint
from .body import PARTS, Body
from .draws import Draws
from .plans import PLANS

NORMALISING_PHASES = 8
FILL = 1.22  # half size of a creature; 1.44 is what the camera sees at the depth of the origin


@dataclass
class Scene:
    """B creatures at T moments. Primitives: the ellipsoids first, then the boxes (body.ELLIPSOIDS, body.BOXES)."""

    centers: torch.Tensor  # [B,T,P,3]
    to_unit: torch.Tensor  # [B,T,P,3,3]: world offset from the centre → coordinates in which the part is a unit sphere or cube
    half_axes: torch.Tensor  # [B,P,3] in the body's own units, for patterns of equal size
    paints: torch.Tensor  # [B,P,paint.PAINT_NUMBERS]
    light: torch.Tensor  # [B,3]
    attributes: dict  # indices [B]: plan, color, second, pattern


def _build(plan, seeds, phase, strength):
    body = Body(phase)
    draws = Draws(seeds, 2)
    PLANS[plan][3](draws, body, strength)
    centers, matrices, half, paints = body.parts()

    return centers, matrices, half, paints


def _bounds(centers, matrices, half):
    """Lowest and highest coordinates over all moments and visible parts, [B,3] each."""
    reach = ((matrices * half[..., None, :]) ** 2).sum(-1).sqrt()  # [B,T,P,3], exact for ellipsoids
    seen = (half.amax(-1) > 1e-3)[..., None]
    low = torch.where(seen, centers - reach, torch.full_like(centers, 1e3)).amin((1, 2))
    high = torch.where(seen, centers + reach, torch.full_like(centers, -1e3)).amax((1, 2))
    return low, high


def plan_of(seeds):
    return Draws(seeds, 0, 4).choose(len(PLANS))[:, 0]


def make_scene(seeds, moments, strength, yaw):
    """seeds: int64 [B]; moments: [B,T] in cycles of the motion; strength: [B] of the motion, 1 is usual; yaw: [B] radians
    that the creature is turned about z."""
    device = seeds.device
    batch, times = moments.shape
    plans = plan_of(seeds)
    paints, attributes = paint.palette(Draws(seeds, 1), device)
    general = Draws(seeds, 3)
    size = general.between(0.86, 1.04)
    stretch = torch.cat([general.between(0.9, 1.1) for _ in range(3)], 1)
    light = torch.cat([general.between(-0.55, 0.55), general.between(-0.55, 0.55), torch.ones_like(size)], 1)
    light = light / light.norm(dim=1, keepdim=True)
    attributes["plan"] = plans

    centers = torch.zeros(batch, times, PARTS, 3, device=device)
    to_unit = torch.zeros(batch, times, PARTS, 3, 3, device=device)
    half_axes = torch.zeros(batch, PARTS, 3, device=device)
    part_paints = torch.zeros(batch, PARTS, paint.PAINT_NUMBERS, device=device)
    rest = torch.arange(NORMALISING_PHASES, device=device) * (2 * math.pi / NORMALISING_PHASES)
    cos, sin, zero, one = torch.cos(yaw), torch.sin(yaw), torch.zeros_like(yaw), torch.ones_like(yaw)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).reshape(batch, 1, 1, 3, 3)
    for plan in range(len(PLANS)):
        rows = (plans == plan).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        own, power = seeds[rows], strength[rows, None]
        phase = torch.cat([moments[rows] * (2 * math.pi), rest.expand(len(rows), -1)], 1)
        c, m, h, slots = _build(plan, own, phase, power)
        grow = stretch[rows][:, None, None]
        c, m = c * grow, m * grow[..., None]  # columns of m are no longer orthonormal, which an ellipsoid allows
        low, high = _bounds(c[:, times:], m[:, times:], h[:, times:])
        middle = (low + high) / 2
        extent = high - low
        radius = torch.maximum(extent.amax(1) / 2, extent[:, :2].norm(dim=1) * 0.38).clamp(min=1e-3)
        scale = (FILL * size[rows, 0] / radius)[:, None, None, None]
        c, m = (c[:, :times] - middle[:, None, None]) * scale, m[:, :times] * scale[..., None]
        h = h[:, :times]
        world = turn[rows] @ (m * h[..., None, :])
        centers[rows] = (turn[rows] @ c[..., None])[..., 0]
        to_unit[rows] = torch.linalg.inv(world)
        half_axes[rows] = h.amax(1) * scale[:, 0]
        part_paints[rows] = paints[rows][:, slots]
    return Scene(centers, to_unit, half_axes, part_paints, light, attributes)
