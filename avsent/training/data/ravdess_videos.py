"""RAVDESS as published: what a clip shows is in its file name (Livingstone and Russo 2018).

``01-01-06-01-02-01-12.mp4``: modality, vocal channel, emotion, intensity, statement, repetition,
actor. Files may lie anywhere below the folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from avsent.labels import EMOTIONS, POLARITY_LABELS, polarity_of
from avsent.training.data.corpus import Row
from avsent.training.data.manifest import default_context

STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

# Of the modalities, 01 (picture and sound) and 03 (sound); 02 has no voice. Of the channels, 01
# (speech); 02 is song.
_NAME = re.compile(
    r"(?P<modality>01|03)-(?P<clip>01-(?P<emotion>0[1-8])-0[12]-(?P<statement>0[12])-0[12]"
    r"-(?P<actor>[0-9]{2}))\.(mp4|mkv|avi|mov|webm|wav|flac|mp3|m4a|ogg)",
    re.IGNORECASE,
)


def read_ravdess_videos(folder: Path) -> list[Row]:
    """One row for each speech clip below the folder, in the order of actors and clips.

    A clip that is there as video and as sound is taken as video; of copies (some archives hold
    all files twice) the one least deep is taken. Links are not followed into other folders.
    """
    best: dict[str, tuple[tuple[str, int, str], re.Match[str], Path]] = {}
    for name, path in _clips(folder):
        rank = (name["modality"], len(path.parts), str(path))
        if name["clip"] not in best or rank < best[name["clip"]][0]:
            best[name["clip"]] = (rank, name, path)
    chosen = sorted(best.values(), key=lambda item: (item[1]["actor"], item[1]["clip"]))
    root = Path(os.path.realpath(folder))
    return [_row(name, path, root) for _, name, path in chosen]


def _clips(folder: Path) -> Iterator[tuple[re.Match[str], Path]]:
    for parent, _, files in os.walk(os.path.realpath(folder)):
        for file in files:
            if name := _NAME.fullmatch(file):
                yield name, Path(parent, file)


def _row(name: re.Match[str], media: Path, root: Path) -> Row:
    emotion = EMOTIONS[int(name["emotion"]) - 1]
    polarity = polarity_of(emotion)
    sentiment = "" if polarity is None else POLARITY_LABELS[polarity]
    return Row(
        media=media,
        speaker=f"actor{name['actor']}",
        labels={"label": emotion, "emotion": emotion, "sentiment": sentiment},
        text=STATEMENTS[name["statement"]],
        context=default_context(media),
        where=media.relative_to(root).as_posix(),
    )
