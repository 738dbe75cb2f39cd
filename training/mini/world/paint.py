"""Colours and surface patterns."""

import torch

from .body import PAINTS

# name: red, green, blue
COLORS = {
    "red": (0.82, 0.16, 0.14),
    "orange": (0.92, 0.49, 0.12),
    "yellow": (0.93, 0.78, 0.18),
    "green": (0.24, 0.60, 0.22),
    "lime": (0.58, 0.78, 0.22),
    "teal": (0.13, 0.58, 0.56),
    "blue": (0.16, 0.35, 0.78),
    "cyan": (0.34, 0.68, 0.86),
    "purple": (0.50, 0.24, 0.66),
    "pink": (0.90, 0.47, 0.62),
    "brown": (0.48, 0.30, 0.17),
    "tan": (0.78, 0.61, 0.42),
    "gray": (0.50, 0.51, 0.54),
    "black": (0.16, 0.16, 0.19),
}
COLOR_NAMES = list(COLORS)
PATTERNS = ["plain", "striped", "spotted", "two-tone", "shaded", "patchy"]

# A paint: first colour 3, second colour 3, linear 3, wave vector 3, wave phase, wave amplitude, spot frequency, spot
# phases 3, spot amplitude, bias, sharpness.
PAINT_NUMBERS = 21


def _jitter(draws, color):
    """color [B,3] with another brightness and a slight shift of hue."""
    shift = torch.cat([draws.between(-0.05, 0.05) for _ in range(3)], 1)
    return ((color + shift) * draws.between(0.82, 1.12)).clamp(0.06, 0.92)


def palette(draws, device):
    """→ paints [B,PAINTS,PAINT_NUMBERS] and a dictionary of indices [B]: color, second, pattern."""
    table = torch.tensor(list(COLORS.values()), device=device)
    count = len(table)
    color = draws.choose(count)[:, 0]
    second = (color + 1 + draws.choose(count - 1)[:, 0]) % count
    accent = draws.choose(count)[:, 0]
    pattern = draws.choose(len(PATTERNS))[:, 0]
    first_color, second_color = _jitter(draws, table[color]), _jitter(draws, table[second])
    accent_color = _jitter(draws, table[accent])
    batch = len(color)

    is_ = lambda name: (pattern == PATTERNS.index(name)).float()[:, None]
    striped, spotted, two_tone, shaded, patchy = (is_(name) for name in PATTERNS[1:])
    patterned = 1 - is_("plain")
    # Stripes run around the body (waves along x) or along it (waves along z), 0.3 to 0.55 units each.
    along = draws.chance(0.7)
    wave = 2 * torch.pi / draws.between(0.34, 0.6)
    waves = torch.cat([along * wave, torch.zeros_like(wave), (1 - along) * wave], 1)
    linear = torch.cat([shaded * draws.between(-1, 1), torch.zeros_like(wave), 2.2 * two_tone + shaded * draws.between(0.4, 1.2)], 1)
    spot_frequency = 2 * torch.pi / draws.between(0.5, 0.75) * (spotted + 0.55 * patchy) + 1e-3
    phases = torch.cat([draws.angle() for _ in range(3)], 1)
    spots = 1.6 * (spotted + patchy)
    bias = 0.1 * striped + 0.75 * spotted + 0.1 * patchy + two_tone * draws.between(-0.15, 0.15)
    sharpness = 14 * (striped + two_tone) + 16 * spotted + 9 * patchy + 2.2 * shaded

    def paint(one, two, share):
        """share 0 leaves the pattern out."""
        keep = patterned * share
        return torch.cat([one, one + (two - one) * keep, linear, waves, draws.angle(), striped, spot_frequency, phases, spots,
                          bias, sharpness], 1)

    plain = lambda rgb: torch.tensor(rgb, device=device).expand(batch, 3)
    dark, pale, neutral = plain((0.10, 0.10, 0.12)), plain((0.96, 0.96, 0.94)), plain((0.62, 0.60, 0.58))
    none = torch.zeros_like(patterned)
    paints = torch.stack([paint(first_color, second_color, 1.0), paint(second_color, first_color, none),
                          paint(accent_color, first_color, none), paint(dark, dark, none), paint(pale, pale, none),
                          paint(neutral, neutral, none)], 1)
    assert paints.shape[1:] == (PAINTS, PAINT_NUMBERS)
    return paints, {"color": color, "second": second, "pattern": pattern}


def surface_color(paint, q):
    """paint [...,PAINT_NUMBERS], q [...,3] in object units → colour [...,3]."""
    one, two, linear, waves = paint[..., 0:3], paint[..., 3:6], paint[..., 6:9], paint[..., 9:12]
    wave_phase, wave_amplitude, spot_frequency = paint[..., 12], paint[..., 13], paint[..., 14]
    spot_phases, spot_amplitude, bias, sharpness = paint[..., 15:18], paint[..., 18], paint[..., 19], paint[..., 20]
    value = (linear * q).sum(-1) + wave_amplitude * torch.sin((waves * q).sum(-1) + wave_phase)
    value = value + spot_amplitude * torch.sin(spot_frequency[..., None] * q + spot_phases).prod(-1)
    share = torch.sigmoid(sharpness * (value - bias))
    return one + (two - one) * share[..., None]
