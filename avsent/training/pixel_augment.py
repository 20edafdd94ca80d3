"""Changed copies of still pictures, for the pixel network: other framing, light and camera."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION_RAD = math.radians(15)
SCALE = 0.15
SHIFT = 0.1
CONTRAST = 0.35
"""Deviation of the exponent (log) of each pixel's brightness."""
NOISE = 0.15
SIDE_LIGHT = 0.15
BLURRED = 0.3
"""Share of pictures that were seen from further away."""
LEAST_DETAIL = 0.35
ERASED = 0.4
ERASED_SIDE = 0.4


def augmented_pictures(
    grey: Tensor, size: int, generator: torch.Generator, strength: float = 1.0
) -> Tensor:
    """Changed copies [N, size, size] of pictures ``grey`` [N, H, W] in 0 … 255, standardised; all
    changes but the mirror are scaled by ``strength``."""
    pictures = _framed(grey, size, generator, strength)
    pictures = _lit(pictures, generator, strength)
    pictures = _coarser(pictures, generator, strength)
    pictures = _standardised(pictures)
    noise = strength * NOISE * torch.rand(len(pictures), 1, 1, generator=generator)
    pictures = pictures + noise * torch.randn(pictures.shape, generator=generator)
    return _erased(pictures, generator, strength)


def _framed(grey: Tensor, size: int, generator: torch.Generator, strength: float) -> Tensor:
    """Mirrored, turned, scaled, shifted, and sampled at ``size``."""
    n = len(grey)

    def uniform(limit: float) -> Tensor:
        return strength * limit * (2 * torch.rand(n, generator=generator) - 1)

    angle, zoom = uniform(ROTATION_RAD), torch.exp(uniform(SCALE))
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # grid_sample measures in half pictures.
    first = torch.stack([cos * mirror, -sin, uniform(2 * SHIFT)], dim=1)
    second = torch.stack([sin * mirror, cos, uniform(2 * SHIFT)], dim=1)
    grid = functional.affine_grid(
        torch.stack([first, second], dim=1), [n, 1, size, size], align_corners=False
    )
    return functional.grid_sample(
        grey[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0]


def _lit(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Another exposure: brightness to a power, and a light from one side."""
    n = len(pictures)
    power = torch.exp(strength * CONTRAST * torch.randn(n, 1, 1, generator=generator))
    lit = (pictures / 255.0).clamp(1e-3, 1.0) ** power
    ramp = torch.linspace(-1.0, 1.0, pictures.shape[1])
    side = strength * SIDE_LIGHT * torch.randn(n, 2, generator=generator)
    return lit * (1 + side[:, :1, None] * ramp[None, :, None] + side[:, 1:, None] * ramp)


def _coarser(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Some of them as a camera further away would have seen them; one size for a batch."""
    low = torch.rand(1, generator=generator).item() * (0.9 - LEAST_DETAIL) + LEAST_DETAIL
    chosen = torch.rand(len(pictures), generator=generator) < strength * BLURRED
    if not bool(chosen.any()):
        return pictures
    size = pictures.shape[1]
    small = functional.interpolate(pictures[chosen][:, None], size=round(low * size), mode="area")
    large = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    changed = pictures.clone()
    changed[chosen] = large[:, 0]
    return changed


def _standardised(pictures: Tensor) -> Tensor:
    mean = pictures.mean(dim=(1, 2), keepdim=True)
    deviation = pictures.std(dim=(1, 2), keepdim=True)
    return (pictures - mean) / deviation.clamp_min(1e-2)


def _erased(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Some of them with a rectangle covered: hands, hair, microphones."""
    n, size = len(pictures), pictures.shape[1]
    here = torch.arange(size)[None]

    def stretch() -> Tensor:
        width = strength * size * ERASED_SIDE * torch.rand(n, 1, generator=generator)
        start = (size - width) * torch.rand(n, 1, generator=generator)
        return (here >= start) & (here < start + width)

    covered = stretch()[:, :, None] & stretch()[:, None, :]
    covered &= (torch.rand(n, generator=generator) < strength * ERASED)[:, None, None]
    return pictures.masked_fill(covered, 0.0)
