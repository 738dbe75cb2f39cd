"""The world: the same seed gives the same creature, in any batch; views and clips fit together; nothing leaves the picture."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from mini.world.draws import HELD_OUT, uniforms
from mini.world.plans import PLANS
from mini.world.scene import plan_of
from mini.world.takes import make_clips, make_orbits


def test_numbers():
    u = uniforms(torch.arange(4000), 20)
    assert 0 < u.min() and u.max() < 1
    assert (u.mean(0) - 0.5).abs().max() < 0.02 and (u.std(0) - 12**-0.5).abs().max() < 0.01
    assert torch.corrcoef(u.t()).triu(1).abs().max() < 0.07


def test_pure_function_of_the_seed():
    seeds = torch.arange(HELD_OUT, HELD_OUT + 5)
    together = make_orbits(seeds, side=24).pictures
    alone = make_orbits(seeds[3:4], side=24).pictures
    assert (together[3].int() - alone[0].int()).abs().max() <= 1


def test_all_plans_are_seen_and_stay_inside():
    seeds = torch.arange(90)
    assert set(plan_of(seeds).tolist()) == set(range(len(PLANS)))
    pictures = make_clips(seeds, side=48).pictures.float() / 255
    drawn = (pictures < 0.999).any(-1).float()
    cover = drawn.mean((2, 3))
    assert cover.min() > 0.015 and cover.max() < 0.75, (cover.min(), cover.max())
    border = torch.cat([drawn[..., 0, :], drawn[..., -1, :], drawn[..., :, 0], drawn[..., :, -1]], -1)
    assert border.mean() < 0.01


def test_last_view_is_the_input():
    seeds = torch.arange(3)
    moments = torch.zeros(3, 1)
    orbit = make_orbits(seeds, side=24, moments=moments).pictures[:, 0]
    turned = make_orbits(seeds, side=24, moments=moments, yaw=None).pictures[:, 0]
    assert (orbit[:, -1] == turned[:, -1]).all()
    assert (orbit[:, 0].float() - orbit[:, -1].float()).abs().mean() > 0.3


def test_clip_starts_at_rest_and_moves():
    seeds = torch.arange(20)
    pictures = make_clips(seeds, side=32, fps=6, bucket=127).pictures.float()
    assert ((pictures[:, 1:] - pictures[:, :-1]).abs().mean((1, 2, 3, 4)) > 0.2).all()


if __name__ == "__main__":
    tests = [(name, f) for name, f in list(globals().items()) if name.startswith("test_")]
    failed = 0
    for name, test in tests:
        try:
            test()
            print("ok  ", name)
        except AssertionError as error:
            failed += 1
            print("FAIL", name, error)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
