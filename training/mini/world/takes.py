"""What training and evaluation look at: orbits around a creature at one moment, and clips of a creature in motion.

All choices (view, moment, light …) are functions of the creature's seed and the number of the take.
"""

import math
from dataclasses import dataclass

import torch

from .draws import Draws
from .render import render
from .scene import make_scene

SIDE, VIEWS, FRAMES = 128, 21, 8
FPS_CHOICES = (4, 5, 6, 6, 6, 7, 8, 10)
USUAL_FPS, USUAL_BUCKET = 6, 127  # a clip of 8 frames then shows one cycle of the motion at its usual strength


@dataclass
class Orbit:
    pictures: torch.Tensor  # uint8 [B,21,side,side,3]: azimuths 360·k/21 for k = 1 … 21; the last is the input
    elevation: torch.Tensor  # [B] degrees
    attributes: dict


@dataclass
class Clip:
    pictures: torch.Tensor  # uint8 [B,8,side,side,3]; the first is the input
    fps: torch.Tensor  # [B]
    bucket: torch.Tensor  # [B]
    attributes: dict


def _camera(draws):
    """yaw [B] of the creature towards the first camera, radians; elevation [B], degrees."""
    front = draws.chance(0.75)
    yaw = front * draws.between(-85, 85) + (1 - front) * draws.between(-180, 180)
    level = draws.chance(0.5)
    elevation = level * draws.between(-3, 18) + (1 - level) * draws.between(-10, 40)
    return yaw[:, 0] * (math.pi / 180), elevation[:, 0]


def orbit_azimuths(views=VIEWS, device="cpu"):
    """Radians; the last is 0 (360 modulo 360)."""
    return torch.arange(1, views + 1, device=device).remainder(views) * (2 * math.pi / views)


def _pictures(scene, which, moment, azimuth, elevation, side):
    return render(scene, which.reshape(-1), moment.reshape(-1), azimuth.reshape(-1), elevation.reshape(-1), side)


def make_orbits(seeds, take=0, side=SIDE, moments=None, strength=None, elevation=None, yaw=None):
    """seeds int64 [B]. What is given (moments [B,T], strength, elevation in degrees, yaw in radians [B]) overrides the take's
    own; with T > 1 moments the pictures are [B,T,21,…]."""
    device, batch = seeds.device, len(seeds)
    draws = Draws(seeds, 10 + take)
    own_yaw, own_elevation = _camera(draws)
    at_rest = draws.chance(0.25)
    own_moments = (1 - at_rest) * draws.unit()
    own_strength = draws.between(0.5, 1.4)[:, 0]
    yaw = own_yaw if yaw is None else yaw
    elevation = own_elevation if elevation is None else elevation
    several = moments is not None
    moments = own_moments if moments is None else moments
    scene = make_scene(seeds, moments, own_strength if strength is None else strength, yaw)
    times = moments.shape[1]
    shape = (batch, times, VIEWS)
    grid = lambda x, view: x.to(device).view(view).expand(shape)
    pictures = _pictures(scene, grid(torch.arange(batch), (-1, 1, 1)), grid(torch.arange(times), (1, -1, 1)),
                         grid(orbit_azimuths(device=device), (1, 1, -1)), grid(elevation * (math.pi / 180), (-1, 1, 1)), side)
    pictures = pictures.view(*shape, side, side, 3)
    return Orbit(pictures if several else pictures[:, 0], elevation, scene.attributes)


def make_clips(seeds, take=0, side=SIDE, fps=None, bucket=None):
    device, batch = seeds.device, len(seeds)
    draws = Draws(seeds, 20 + take)
    yaw, elevation = _camera(draws)
    own_fps = torch.tensor(FPS_CHOICES, device=device, dtype=torch.float32)[draws.choose(len(FPS_CHOICES))[:, 0]]
    own_bucket = draws.between(50, 190)[:, 0].round()
    start = (draws.chance(0.12) * draws.unit())[:, 0]
    fps = own_fps if fps is None else torch.full_like(own_fps, fps)
    bucket = own_bucket if bucket is None else torch.full_like(own_bucket, bucket)
    start = start if bucket is own_bucket else torch.zeros_like(start)
    moments = start[:, None] + torch.arange(FRAMES, device=device) * (USUAL_FPS / FRAMES) / fps[:, None]
    scene = make_scene(seeds, moments, bucket / USUAL_BUCKET, yaw)
    grid = lambda x, view: x.to(device).view(view).expand(batch, FRAMES)
    pictures = _pictures(scene, grid(torch.arange(batch), (-1, 1)), grid(torch.arange(FRAMES), (1, -1)), torch.zeros(batch, FRAMES, device=device),
                         grid(elevation * (math.pi / 180), (-1, 1)), side)
    return Clip(pictures.view(batch, FRAMES, side, side, 3), fps, bucket, scene.attributes)


def make_singles(seeds, take=0, side=SIDE):
    """One picture of each creature: uint8 [B,side,side,3], its attributes, yaw (radians) and elevation (degrees)."""
    device, batch = seeds.device, len(seeds)
    draws = Draws(seeds, 30 + take)
    yaw, elevation = _camera(draws)
    yaw = torch.where(draws.chance(0.5)[:, 0] > 0, yaw, draws.angle()[:, 0])
    moments = draws.chance(0.7) * draws.unit()
    scene = make_scene(seeds, moments, draws.between(0.5, 1.4)[:, 0], yaw)
    pictures = _pictures(scene, torch.arange(batch, device=device), torch.zeros(batch, dtype=torch.long, device=device), torch.zeros(batch, device=device),
                         elevation * (math.pi / 180), side)
    return pictures, scene.attributes, yaw, elevation
