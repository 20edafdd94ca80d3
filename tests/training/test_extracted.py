"""Raw media → corpus: each file is analysed once, whatever happens in between."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from conftest import hear_ctrl_c

from avsent.errors import DatasetError, OutputError, UsageError
from avsent.extraction.extractor import Extraction, ExtractionOptions
from avsent.extraction.features.config import FeatureConfig
from avsent.extraction.features.face import pictures_of
from avsent.extraction.features.spectrogram import normalised_log
from avsent.extraction.utterances.segmentation import Segment
from avsent.options import FaceChoice
from avsent.progress import Progress
from avsent.training.data.corpus import Corpus, Row
from avsent.training.data.extracted import extract_rows
from avsent.training.data.feature_cache import FeatureCache, Settings

SETTINGS = Settings(FeatureConfig(), FaceChoice.speaking)
NEUTRAL, HAPPY = "talk_neutral_zh.mp4", "talk_happy_zh.mp4"


def rows_in(folder: Path) -> list[Row]:
    """The whole of one clip; three utterances of another, two of them the same and one that
    ends first but comes last."""
    return [
        Row(folder / NEUTRAL, speaker="a", labels={"label": "neutral"}, where="list.csv:2"),
        Row(folder / HAPPY, 0.2, 50.0, "b", "train", {"label": "happy"}, "text", "", "list.csv:3"),
        Row(folder / HAPPY, 0.5, 1.5, "b", context="own", where="list.csv:4"),
        Row(folder / HAPPY, 0.5, 1.5, "b", where="list.csv:5"),
        Row(folder / HAPPY, 60.0, 70.0, "b", where="list.csv:6"),
    ]


class Steps:
    """Notes which files are analysed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, progress: Progress) -> None:
        if progress.step not in self.seen:
            self.seen.append(progress.step)


class StopAt(Steps):
    """Ctrl-C in the middle of a file."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step

    def __call__(self, progress: Progress) -> None:
        super().__call__(progress)
        if progress.step == self.step and progress.completed > 0.5:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def media(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for name in (NEUTRAL, HAPPY):
        shutil.copy(clips / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def made(media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """A filled cache, and the corpus of an unbroken run."""
    cache = tmp_path_factory.mktemp("cache")
    steps = Steps()
    extracted = extract_rows(media, rows_in(media), SETTINGS, cache, steps)
    assert steps.seen == [f"[1/2] {NEUTRAL}", f"[2/2] {HAPPY}"]
    assert extracted.warnings == ("1 utterance without a voice or a face, left out: list.csv:6",)
    return cache, extracted.corpus


def kept_in(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (cache / "features").iterdir()}


def copied(cache: Path, to: Path) -> Path:
    shutil.copytree(cache, to)
    return to


def test_rows_become_samples_in_their_order(made: tuple[Path, Corpus]) -> None:
    samples = made[1].samples
    assert [sample.key for sample in samples] == [
        f"{NEUTRAL}#0",
        f"{HAPPY}#0",
        f"{HAPPY}#1",
        f"{HAPPY}#2",
    ]
    assert [sample.video for sample in samples] == [NEUTRAL, HAPPY, "own", HAPPY]
    long = samples[1]
    assert (long.speaker, long.split, long.text) == ("b", "train", "text")
    assert long.labels == {"label": "happy"}
    frames = [0 if sample.audio is None else sample.audio.shape[1] for sample in samples]
    assert frames[1] > frames[2] == frames[3] == 101  # a second, and the frame that closes it
    assert made[1].features == FeatureConfig()
    assert made[1].vectors == {}


def test_features_are_those_of_a_prediction(media: Path, made: tuple[Path, Corpus]) -> None:
    options = ExtractionOptions(segments=(Segment(0.5, 1.5),))
    extraction = Extraction(media / HAPPY, FeatureConfig(), options)
    (expected,) = extraction
    sample = made[1].samples[2]
    assert expected.audio is not None
    assert expected.face is not None
    assert sample.audio is not None
    assert sample.audio.dtype == np.float32
    floor_db = FeatureConfig().audio.floor_db
    np.testing.assert_array_equal(normalised_log(sample.audio, floor_db), expected.audio.log_mel)
    np.testing.assert_array_equal(sample.face, expected.face.landmarks)
    assert sample.prosody is not None
    np.testing.assert_array_equal(sample.prosody, expected.audio.prosody)
    assert expected.face.crops is not None
    assert sample.pictures is not None
    assert sample.pictures.dtype == np.float32
    np.testing.assert_array_equal(sample.pictures, pictures_of(expected.face.crops))
    neutral = extraction.neutral(expected.track)
    assert neutral is not None
    np.testing.assert_array_equal(sample.neutral, neutral)  # that of the whole file
    np.testing.assert_array_equal(made[1].samples[3].neutral, neutral)


def test_what_is_kept_is_not_made_again(media: Path, made: tuple[Path, Corpus]) -> None:
    cache, corpus = made
    before, steps = kept_in(cache), Steps()
    again = extract_rows(media, rows_in(media)[::-1], SETTINGS, cache, steps).corpus
    assert steps.seen == []
    assert kept_in(cache) == before
    assert len(before) == 2
    by_key = {sample.key.partition("#")[0]: sample for sample in again.samples}
    np.testing.assert_array_equal(by_key[NEUTRAL].audio, corpus.samples[0].audio)


def test_a_file_with_another_name_is_known(
    media: Path, made: tuple[Path, Corpus], tmp_path: Path
) -> None:
    shutil.copy(media / NEUTRAL, tmp_path / "renamed.mp4")
    steps = Steps()
    corpus = extract_rows(tmp_path, [Row(tmp_path / "renamed.mp4")], SETTINGS, made[0], steps)
    assert steps.seen == []
    assert [sample.key for sample in corpus.corpus.samples] == ["renamed.mp4#0"]


def test_a_run_that_was_stopped_goes_on(
    media: Path, made: tuple[Path, Corpus], tmp_path: Path
) -> None:
    rows = rows_in(media)
    with pytest.raises(KeyboardInterrupt):
        extract_rows(media, rows, SETTINGS, tmp_path, StopAt(f"[2/2] {HAPPY}"))
    before, steps = kept_in(tmp_path), Steps()
    assert len(before) == 1  # and no unfinished file beside it
    corpus = extract_rows(media, rows, SETTINGS, tmp_path, steps).corpus
    assert steps.seen == [f"[2/2] {HAPPY}"]
    assert before.items() <= kept_in(tmp_path).items()
    assert corpus.digest() == made[1].digest()


def test_ctrl_c_keeps_what_is_done(clips: Path, tmp_path: Path) -> None:
    manifest, out, cache = (tmp_path / name for name in ("manifest.csv", "x.npz", "cache"))
    lines = [f"{clips / name},a,happy" for name in (NEUTRAL, "acted_happy_1080p.mp4")]
    manifest.write_text("\n".join(["video,speaker,label", *lines]))
    program = str(Path(sys.executable).with_name("avsent"))
    command = [program, "extract", str(manifest), "-o", str(out), "--cache", str(cache)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        until_s = time.monotonic() + 60
        while not list(cache.glob("features/*.npz")) and time.monotonic() < until_s:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == "avsent: interrupted\n"
    assert len(kept_in(cache)) == 1
    assert not out.exists()


def test_a_damaged_file_is_made_anew(
    media: Path, made: tuple[Path, Corpus], tmp_path: Path
) -> None:
    cache = copied(made[0], tmp_path / "cache")
    place = FeatureCache(cache, SETTINGS).place(media / NEUTRAL, [Segment(0.0, 300.0)])
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    steps = Steps()
    corpus = extract_rows(media, rows_in(media), SETTINGS, cache, steps).corpus
    assert steps.seen == [f"[1/2] {NEUTRAL}"]
    assert corpus.digest() == made[1].digest()
    assert place.read_bytes() == whole


def test_all_failures_in_one_line(media: Path, made: tuple[Path, Corpus], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    rows = [
        Row(tmp_path / "empty.mp4", where="list.csv:2"),
        Row(tmp_path / "gone.mp4", where="list.csv:3"),
        Row(tmp_path / "gone.mp4", 0.0, 1.0, where="list.csv:4"),
        Row(media / NEUTRAL, where="list.csv:5"),
    ]
    cache = tmp_path / "cache"
    with pytest.raises(DatasetError) as caught:
        extract_rows(media, rows, SETTINGS, cache)
    message = str(caught.value)
    assert message.startswith("list.csv:2: ")
    assert message.endswith("(and 1 other file); run 'avsent data check'")
    assert "empty.mp4 is empty" in message
    assert set(kept_in(cache)) <= set(kept_in(made[0]))  # the good one is done
    assert len(kept_in(cache)) == 1


def test_utterances_that_are_too_long(tmp_path: Path) -> None:
    sound = tmp_path / "long.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 8000 * 302)
    for row in (
        Row(sound, where="list.csv:7"),
        Row(sound, 1.0, where="list.csv:7"),
        Row(sound, 0.0, 300.5, where="list.csv:7"),
    ):
        with pytest.raises(DatasetError, match=r"^list\.csv:7: the utterance is 30\d s long"):
            extract_rows(tmp_path, [row], SETTINGS, tmp_path / "cache")
    silent = Row(sound, 1.0, 2.0, where="list.csv:8")
    with pytest.raises(DatasetError, match="no utterance has a voice or a face"):
        extract_rows(tmp_path, [silent], SETTINGS, tmp_path / "cache")


def test_every_face_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--face all is for prediction"):
        extract_rows(tmp_path, [], Settings(FeatureConfig(), FaceChoice.all), tmp_path)


def test_a_cache_that_cannot_be_written(media: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make the folder .*; choose one with --cache"):
        extract_rows(media, rows_in(media), SETTINGS, tmp_path / "file")
