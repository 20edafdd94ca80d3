"""Fusion heads by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from avsent.networks.fusion.avef import AvefHead
from avsent.networks.fusion.base import HeadSizes
from avsent.networks.fusion.concat import ConcatHead
from avsent.networks.fusion.fbp import FbpHead
from avsent.networks.fusion.hmtl import HmtlHead
from avsent.networks.fusion.multiplicative import MultiplicativeHead
from avsent.networks.fusion.tfn import TfnHead

HEADS: dict[str, Callable[[HeadSizes], nn.Module]] = {
    "hmtl": HmtlHead,
    "concat": ConcatHead,
    "tfn": TfnHead,
    "fbp": FbpHead,
    "multiplicative": MultiplicativeHead,
    "avef": AvefHead,
}
PAIRS_ONLY = ("tfn", "fbp", "multiplicative")
"""Heads that are defined for two modalities."""


def make_head(sizes: HeadSizes) -> nn.Module:
    """The head that ``sizes.fusion.name`` names.

    Raises:
        ValueError: it is unknown, or does not suit the modalities.
    """
    name = sizes.fusion.name
    if name not in HEADS:
        raise ValueError(f"no fusion {name!r}; there are {', '.join(HEADS)}")
    if name in PAIRS_ONLY and len(sizes.modalities) != 2:
        raise ValueError(f"fusion {name} needs two modalities")
    return HEADS[name](sizes)
