"""Real videos with real damage, through the whole tool: what the checks find, what they are worth.

Every clip is damaged in voice or in face, written anew and predicted with the utterances of the
undamaged one, so that decisions can be compared one by one. And all clips as they are: what of
them is taken for damaged is a false alarm.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from experiments import table
from noise_copies import Copy, babble_of, face_damages, read, voice_damages, write

from avsent.errors import AvsentError
from avsent.options import PredictOptions
from avsent.predictor import Predictor
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult

CLIPS = (
    "acted_disgusted_1080p.mp4",
    "acted_happy_1080p.mp4",
    "lrs3_closeup.mp4",
    "speech_closeup_512.mp4",
    "talk_700.mp4",
    "talk_angry_zh.mp4",
    "talk_happy_zh.mp4",
    "talk_surprise_zh.mp4",
    "talk_vfr.mp4",
)
"""With a voice and a face."""
MOST_S = 6.0
WAYS = ("check", "no check", "check and proxy")
PLAIN, AS_IT_IS = "none", "as it is"
"""No damage: to a copy like the damaged ones, and to the clip itself."""
MODALITIES = ("audio", "face")
MEDIA = (".mp4", ".mpg", ".mov", ".avi", ".webm", ".wav")
SEED = 17


@dataclass(frozen=True, slots=True)
class Row:
    """One utterance with one ``damage`` to one ``modality`` (both "none": as it is), judged in one
    of the ``WAYS``. ``lost``: the modalities that the undamaged, unchecked one has and this one has
    not, and ``why`` (its warnings). ``same``: whether the label is that of the undamaged, unchecked
    utterance, ``change``: of the score, absolute."""

    clip: str
    start_s: float
    damage: str
    modality: str
    way: str
    lost: tuple[str, ...]
    why: tuple[str, ...]
    same: bool
    change: float


def run(
    clips: Path,
    work: Path,
    say: Callable[[str], None] = lambda line: None,
    *,
    names: Sequence[str] = CLIPS,
    everything: bool = True,
) -> list[Row]:
    """Damage to those of ``names`` in the folder ``clips``, and, with ``everything``, all of its
    clips as they are. Copies are written into ``work``, one at a time."""
    work.mkdir(parents=True, exist_ok=True)
    predictor = Predictor.load()
    others = babble_of(clips / "grid")
    rows = []
    for name in names:
        say(f"damage to {name}")
        rows += list(_of_clip(predictor, clips / name, work, others))
    if everything:
        say("all clips as they are")
        rows += list(_as_they_are(predictor, clips))
    return rows


def _of_clip(
    predictor: Predictor, clip: Path, work: Path, others: Sequence[np.ndarray]
) -> Iterator[Row]:
    copy = read(clip, MOST_S)
    file = work / "copy.mkv"
    write(copy, file)
    plain = PredictOptions(check=False, sightings=True)
    analysis = predictor.analyse(file, options=plain)
    spoken = _written(predictor.conclude(analysis), work / "utterances.csv")
    if spoken is None:
        return
    reference = predictor.predict(file, options=PredictOptions(check=False, utterances=spoken))
    rng = np.random.default_rng([SEED, *clip.name.encode()])
    damages: list[tuple[str, str, Callable[[], Copy]]] = [
        (PLAIN, PLAIN, lambda: copy),
        *(("audio", kind, make) for kind, make in voice_damages(copy, others, rng).items()),
        *(
            ("face", kind, make)
            for kind, make in face_damages(copy, analysis.sightings, rng).items()
        ),
    ]
    for modality, kind, make in damages:
        write(make(), file)
        for way, result in _in_every_way(predictor, file, spoken).items():
            yield from _compared(clip.name, kind, modality, way, reference, result)
    file.unlink()


def _as_they_are(predictor: Predictor, clips: Path) -> Iterator[Row]:
    for file in sorted([*clips.iterdir(), *(clips / "grid").iterdir()]):
        if file.suffix not in MEDIA:
            continue
        try:
            ways = _in_every_way(predictor, file, None)
        except AvsentError:  # some are there to be refused
            continue
        for way, result in ways.items():
            yield from _compared(file.name, AS_IT_IS, PLAIN, way, ways["no check"], result)


def _in_every_way(predictor: Predictor, file: Path, spoken: Path | None) -> dict[str, Result]:
    """The result for each of the ``WAYS``."""
    options = PredictOptions(utterances=spoken)
    checked = predictor.analyse(file, options=options)
    unchecked = dataclasses.replace(checked, check=False)
    if any("not used" in warning for one in checked.represented for warning in one.warnings):
        # A signal that failed its check was not even encoded; else the same analysis serves.
        unchecked = predictor.analyse(file, options=dataclasses.replace(options, check=False))
    analyses = (checked, unchecked, dataclasses.replace(checked, proxy=True))
    return {way: predictor.conclude(a) for way, a in zip(WAYS, analyses, strict=True)}


def _written(result: Result, file: Path) -> Path | None:
    """The utterances of ``result`` in a CSV file; None where none has both."""
    both = [u for u in result.utterances if _effective(u) == set(MODALITIES)]
    if not both:
        return None
    lines = [f"{u.start_s:.3f},{u.end_s:.3f}" for u in both]
    file.write_text("\n".join(["start_s,end_s", *lines]) + "\n", encoding="utf-8")
    return file


def _compared(
    clip: str, damage: str, modality: str, way: str, reference: Result, result: Result
) -> Iterator[Row]:
    for before, after in zip(reference.utterances, result.utterances, strict=True):
        yield Row(
            clip=clip,
            start_s=before.start_s,
            damage=damage,
            modality=modality,
            way=way,
            lost=tuple(sorted(_effective(before) - _effective(after))),
            why=tuple(w for w in after.warnings if w not in before.warnings),
            same=before.sentiment == after.sentiment,
            change=abs(after.score - before.score),
        )


def _effective(utterance: UtteranceResult) -> set[str]:
    return {name for name, share in utterance.modalities.items() if share.effective}


def section(rows: Sequence[Row]) -> str:
    """``rows`` as Markdown: damage by damage, then the false alarms."""
    damaged = [row for row in rows if row.damage != AS_IT_IS]
    plain = [row for row in rows if row.damage == AS_IT_IS]
    parts = []
    if damaged:
        clips, per_way = len({row.clip for row in damaged}), Counter(r.damage for r in damaged)
        parts += [
            f"{clips} clips of at most {MOST_S:.0f} s, {per_way[PLAIN] // len(WAYS)} utterances "
            "with a voice and a face, given; each damage to all of them. *Found*: share of them "
            "whose damaged modality is not used; *sound one lost*: whose other modality is not "
            "used. *Same label* and *change of the score*: against the decision on the undamaged "
            "utterance without checks. Where a modality is gone (silence, grey), the other one "
            "decides alone in every way: more agreement cannot be expected of a damage that is "
            "found.",
            _damages(damaged),
        ]
    if plain:
        parts.append(_alarms(plain))
    return "\n\n".join(parts)


def _damages(rows: Sequence[Row]) -> str:
    cells = []
    for modality, damage in dict.fromkeys((row.modality, row.damage) for row in rows):
        by_way: Mapping[str, list[Row]] = {
            way: [r for r in rows if (r.modality, r.damage, r.way) == (modality, damage, way)]
            for way in WAYS
        }
        checked = by_way["check"]
        cells.append(
            (
                damage if modality == PLAIN else f"{modality}: {damage}",
                "–" if modality == PLAIN else _share(modality in row.lost for row in checked),
                _share(bool(set(row.lost) - {modality}) for row in checked),
                *(_share(row.same for row in by_way[way]) for way in WAYS),
                *(f"{np.mean([row.change for row in by_way[way]]):.2f}" for way in WAYS),
            )
        )
    heads = [f"same label, {way}" for way in WAYS] + [f"change of the score, {way}" for way in WAYS]
    return table(("damage", "found", "sound one lost", *heads), cells)


def _share(values: Iterator[bool]) -> str:
    return f"{np.mean([float(value) for value in values]):.0%}"


def _alarms(rows: Sequence[Row]) -> str:
    checked = [row for row in rows if row.way == "check"]
    alarms = [row for row in checked if row.lost]
    said = (
        f"All {len({row.clip for row in checked})} clips that can be read, as they are: of "
        f"{len(checked)} utterances {len(alarms)} lose a modality to the checks, and "
        f"{sum(not row.same for row in checked)} change their label."
    )
    if not alarms:
        return said
    listed = [
        (row.clip, f"{row.start_s:.1f}", " ".join(row.lost), "; ".join(row.why)) for row in alarms
    ]
    return f"{said}\n\n{table(('clip', 'from, s', 'lost', 'why'), listed)}"
