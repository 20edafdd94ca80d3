"""Pools of judged utterances as material for the guard of a fusion."""

from __future__ import annotations

from collections.abc import Callable

from avsent.data.corpus import Sample
from avsent.training.guarding import GuardMaterial
from avsent.training.shipped.pool import Pool, there
from avsent.training.videos import Videos, make_videos


def guard_material(
    clips: dict[str, Pool],
    stills: dict[str, Pool],
    draw: Callable[[Pool, Pool], list[Sample]],
) -> GuardMaterial:
    """What the guard of a fusion is fitted on: all clips, also those whose emotion has no label
    here (it must not take surprise for damage); the made-up videos of the validation part, with
    those clips, as they are and in noise.

    ``draw``: the validation part's samples from its clips and stills.
    """
    names = clips["train"].names
    labels = {name: float(index) for index, name in enumerate(names)}

    def videos(*parts: list[Sample]) -> Videos:
        samples = [sample for part in parts for sample in part]
        encoded = {sample.key: labels.get(sample.labels.get("label", "")) for sample in samples}
        first = clips["train"].versions[0]
        return make_videos(
            samples, encoded, {"audio": first.audio.shape[1], "face": first.face.shape[1]}
        )

    every = [
        sample
        for version in range(len(clips["train"].versions))
        for sample in _alone(clips["train"], version, lambda label: True)
    ]
    sound, noisy = (
        (clips["valid"], stills["valid"]),
        (
            clips["valid"].in_noise(),
            stills["valid"].in_noise(),
        ),
    )
    return GuardMaterial(
        videos(every),
        *(
            videos(
                draw(*pools),
                _alone(pools[0], 0, lambda label: label < 0),
            )
            for pools in (sound, noisy)
        ),
    )


def _alone(pool: Pool, version: int, chosen: Callable[[int], bool]) -> list[Sample]:
    """Each utterance of ``pool`` whose label is ``chosen``, as a video of its own."""
    said = pool.versions[version]
    return [
        Sample(
            key=f"alone {version} {row}",
            video=f"alone {version} {row}",
            labels={"label": pool.names[label]} if label >= 0 else {},
            audio=there(said.audio[row]),
            face=there(said.face[row]),
        )
        for row, label in enumerate(pool.labels)
        if chosen(int(label))
    ]
