"""``make bench-noise``: M3ER's ablation, and real damage, with and without the modality check.

Writes ``OUT/YYYY-MM-DD-noise.md``. Results of seeds are kept in the folder of ``--cache``, and only
missing ones are computed (about 10 minutes, and 6 for the videos).
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import noise_clips
import noise_faces
import torch
from experiments import Cache, host_block, mean_sd, progress, spread, table
from noise_mosi import run_mosi
from noise_ravdess import COMPANY, run_ravdess

from avsent.errors import AvsentError
from avsent.training.modality_check import HIT

EXIT_INPUT = 3
LEAST_LOSS = 0.02
"""What costs the unprotected less is no damage: a ratio to it would be noise."""
FULL = "check and proxy (full)"
SHOWN = {
    "unprotected": "unprotected",
    "M3ER's ρ alone": "ρ alone",
    "check, no proxy": "check, no proxy",
    FULL: "full: check and proxy",
    "modality dropout only": "modality dropout only",
    "dropout and check": "dropout, check",
    "dropout, check and proxy": "dropout, check, proxy",
}
Figures = dict[str, Any]

HEAD = """# Damaged modalities: the check, the proxies, and what they are worth

`make bench-noise` (`benchmarks/bench_noise.py`). As in M3ER's ablation (Mittal et al., AAAI 2020)
{hit:.0%} of the utterances of the test part are damaged, each in one modality. The paper's damage
is Gaussian noise at a signal-to-noise ratio of 0.01; the rest is damage that recordings have.
Figures are balanced accuracy, mean ± sd over seeds {seeds}; damage is drawn anew for each seed.
Thresholds and the kind of proxy were chosen on the validation part, with that noise and with
exchanged modalities; no other damage was known to it. Machine load at the start: {load:.1f}.

- *unprotected*: no modality was ever missing in training, and every one is believed;
- *ρ alone*: M3ER's check as it stands, by canonical correlation;
- *check*: plain checks of the signal, the distance from the training data, ρ;
- *full*: and proxies, of the kind that validation found the best one;
- *modality dropout only*: {dropout:.0%} of training utterances lacked a modality; all is believed.
  What ships is *dropout, check*.

{host}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write the report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    load, kept, seeds = os.getloadavg()[0], Cache(given.cache / "bench/noise.jsonl"), given.seeds
    try:
        mosi = run_mosi(given.data / "mosi/mosi_utterance.npz", kept, range(seeds))
        ravdess = run_ravdess(given.data, given.cache, kept, range(seeds))
        faces = noise_faces.load_or_measure(given.data, given.cache)
        with tempfile.TemporaryDirectory(prefix="avsent-bench-") as work:
            clips = noise_clips.run(given.clips, Path(work), progress)
    except (AvsentError, OSError) as error:
        progress(f"error: {error}")
        return EXIT_INPUT
    head = HEAD.format(hit=HIT, seeds=f"0 … {seeds - 1}", load=load, dropout=0.3, host=host_block())
    parts = [
        head,
        "## RAVDESS\n\nThree polarities (always deciding for one: .333), actors 21–24, judged by "
        f"the shipped models' experts and recipe in made-up videos of {COMPANY} clips of an actor. "
        "RAVDESS has landmarks and no pictures: what blur, a mask or glasses make of landmarks was "
        "measured on FER2013 (below), and whether blur is found is drawn from its pictures.",
        _section(ravdess),
        "## MOSI\n\nTwo classes (always deciding for one: .500), the features and the split of "
        "`bench-mosi`, strong regularisation, no transfer. Its face features were fitted with the "
        "labels of the training videos, and voice and face tell little on the test part: there is "
        "not much to lose.",
        _section(mosi),
        _dirty(mosi),
        "## Real video\n\n" + noise_clips.section(clips),
        "## What damage does to landmarks\n\nGain (1: the expression stays, 0: an average face) "
        "and residual (eye distances), on FER2013's public test part.\n\n"
        + noise_faces.section(faces),
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    target = given.out / f"{given.date}-noise.md"
    target.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    progress(f"wrote {target.name}")
    return 0


def _section(found: Sequence[Figures]) -> str:
    damages = [name for name in found[0]["balanced"] if "training" not in name]
    rows = [
        (damage, *(spread([f["balanced"][damage][name] for f in found]) for name in SHOWN))
        for damage in damages
    ]
    return "\n\n".join(
        [
            table(("damage", *SHOWN.values()), rows),
            "What is lost, as a share of what the unprotected model loses (aim: a third at most; "
            f"damage that costs it less than {LEAST_LOSS:.0%} left out), and the share of voices "
            "and of faces that the check takes for ineffectual:",
            _losses(found, damages),
            _chosen(found),
        ]
    )


def _losses(found: Sequence[Figures], damages: Sequence[str]) -> str:
    def mean(damage: str, name: str) -> float:
        return mean_sd([f["balanced"][damage][name] for f in found])[0]

    def dropped(damage: str, modality: str) -> float:
        return mean_sd([f["dropped"][damage]["dropout and check"][modality] for f in found])[0]

    whole = mean("clean", "unprotected")
    rows = []
    for damage in damages:
        lost = whole - mean(damage, "unprotected")
        enough = lost >= LEAST_LOSS
        shares = [
            f"{(whole - mean(damage, name)) / lost:.0%}" if enough else "–"
            for name in list(SHOWN)[1:]
        ]
        found_in = [f"{dropped(damage, modality):.0%}" for modality in ("audio", "face")]
        rows.append((damage, f"{lost:+.3f}", *shares, *found_in))
    heads = ("damage", "unprotected loses", *list(SHOWN.values())[1:], "voices out", "faces out")
    return table(heads, rows)


def _chosen(found: Sequence[Figures]) -> str:
    chosen = [f["chosen"][kind] for f in found for kind in f["chosen"]]
    better = sum(one["stand_in"] for one in chosen)
    taus = ", ".join(f"{one['agreement']:.2f}" for one in chosen)
    return (
        f"Of {len(chosen)} trained models validation found {better} better with proxies. Its "
        f"thresholds on ρ (−1: never): {taus}."
    )


def _dirty(found: Sequence[Figures]) -> str:
    name = "noise, in training too"
    rows = [
        (how, spread([f["balanced"][name][how] for f in found]))
        for how in found[0]["balanced"][name]
    ]
    return (
        "### Noise in the training part\n\nThe same noise in training, validation and test parts; "
        "*check* leaves out of the training part what stands out (`avsent train` does by default) "
        "and guards the model.\n\n" + table(("", "balanced accuracy"), rows)
    )


if __name__ == "__main__":
    sys.exit(main())
