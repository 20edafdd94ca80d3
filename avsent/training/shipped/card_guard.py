"""What a card says of its model's modality check and proxies."""

from __future__ import annotations

from avsent.networks.guard import PAIR, Guard
from avsent.training.guarding import HIT, NEVER
from avsent.trust import NAMES


def guard_text(guard: Guard | None) -> str:
    """A section of Markdown."""
    if guard is None:
        return "## Modality check\n\nNone: every voice and face is believed."
    config = guard.config
    check = (
        "A pair is never taken for contradictory: on the validation part no threshold helped."
        if config.agreement <= -1
        else f"Where they agree less than ρ = {config.agreement:.2f}, the less usual one is left "
        "out."
    )
    far = " and ".join(
        f"{NAMES[modality]} {limit:.2f}"
        for modality, limit in zip(PAIR, config.farthest, strict=True)
        if limit < NEVER
    )
    kind = (
        "one linear map"
        if config.linear
        else f"{config.neighbours} nearest neighbours among {config.basis} training pairs"
    )
    use = (
        "They are used, as the validation part was judged better with them"
        if config.stand_in
        else "They are not used unless `--proxy` is given: the validation part was judged better "
        "without"
    )
    return f"""## Modality check and proxies (M3ER)

Voice and face are compared by canonical correlation ({config.components} components, fitted on the
training clips, surprise included). {check} Distances from the training data above which one is left
out (1 is usual): {far or "none"}. The thresholds were chosen on the validation actors, of whose
utterances {HIT:.0%} had one modality in noise (SNR 0.01) or exchanged.

Proxies: {kind}. {use}."""
