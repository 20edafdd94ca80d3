"""Every form of training data ends as the same kind of corpus, or as one clear line."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import HANG_S, hear_ctrl_c, run_avsent
from corpora import MOSI, needs_mosi

from avsent.errors import DatasetError, OutputError, UsageError
from avsent.extraction.extractor import Extraction, FeatureConfig
from avsent.extraction.utterances.segmentation import Segment
from avsent.options import FaceChoice
from avsent.progress import Progress
from avsent.training.data.arrays import load_arrays, save_arrays
from avsent.training.data.corpus import Corpus, Row
from avsent.training.data.feature_files import CorpusOptions, FeatureCache
from avsent.training.data.open import extract_rows, open_corpus

# --- CMU-MOSI ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mosi() -> Corpus:
    return open_corpus(MOSI)


@needs_mosi
def test_mosi_as_published(mosi: Corpus) -> None:
    assert len(mosi.samples) == 2199
    assert len({sample.video for sample in mosi.samples}) == 93
    assert Counter(sample.split for sample in mosi.samples) == {"train": 1447, "test": 752}
    tested = Counter(s.labels["label"] for s in mosi.samples if s.split == "test")
    assert sorted(tested.values()) == [285, 467]
    assert mosi.vectors == {"audio": 73, "face": 100, "text": 100}
    assert mosi.features is None
    videos = {
        split: {s.video for s in mosi.samples if s.split == split} for split in ("train", "test")
    }
    assert (len(videos["train"]), len(videos["test"])) == (62, 31)
    assert not videos["train"] & videos["test"]


@needs_mosi
def test_mosi_samples_are_in_order_of_utterance(mosi: Corpus) -> None:
    with np.load(MOSI) as data:
        rows = {str(name): index for index, name in enumerate(data["utt_id"])}
        held = {name: data[name] for name in ("audio", "video", "text", "sentiment", "label")}
        said = data["transcript"]
    order = [(s.video, int(s.key.rpartition("_")[2])) for s in mosi.samples]
    assert order == sorted(order)
    assert order != sorted(order, key=str)  # 10 comes after 9
    for sample in mosi.samples:
        row = rows[sample.key]
        np.testing.assert_array_equal(sample.audio, held["audio"][row])
        np.testing.assert_array_equal(sample.face, held["video"][row])
        np.testing.assert_array_equal(sample.words, held["text"][row])
        assert np.float32(sample.labels["sentiment"]) == held["sentiment"][row]
        assert sample.labels["label"] == ("negative", "positive")[held["label"][row]]
        assert sample.text == said[row]
        assert sample.speaker == sample.video


@needs_mosi
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("audio", lambda a: a[:, :, None], "audio has the wrong shape"),
        ("audio", lambda a: a[1:], "audio has the wrong shape"),
        ("text", lambda a: a * np.nan, "text holds values that are not finite"),
        ("label", lambda a: a + 1, "a label is neither 0 nor 1"),
        ("label", lambda a: a.astype(str), "label has the wrong type"),
        ("transcript", lambda a: None, "lacks the array 'transcript'"),
        ("bclstm_split", lambda a: None, "neither a feature file of avsent nor CMU-MOSI's"),
    ],
)
def test_changed_mosi_file_is_refused(
    name: str, change: object, message: str, tmp_path: Path
) -> None:
    held = load_arrays(MOSI)
    changed = change(held.pop(name))  # type: ignore[operator]
    save_arrays(tmp_path / "x.npz", held if changed is None else held | {name: changed})
    with pytest.raises(DatasetError, match=rf"x\.npz: {message}"):
        open_corpus(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["gone.npz", "gone", "empty.npz", "folder", "text.npz"])
def test_files_that_are_no_corpus_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=rf"{name}: [^\n]*; "):
        open_corpus(tmp_path / name)


# --- raw media -----------------------------------------------------------------------------------


def kept_by(cache: Path) -> CorpusOptions:
    return CorpusOptions(cache=cache)


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
        if progress.step not in ["checking", *self.seen]:
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
    warnings = list[str]()
    corpus = extract_rows(media, rows_in(media), kept_by(cache), steps, warnings.append)
    assert steps.seen == [f"[1/2] {NEUTRAL}", f"[2/2] {HAPPY}"]
    assert warnings == ["1 utterance without a voice or a face, left out: list.csv:6"]
    return cache, corpus


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
    extraction = Extraction(media / HAPPY, FeatureConfig(), segments=(Segment(0.5, 1.5),))
    (expected,) = extraction
    sample = made[1].samples[2]
    assert expected.audio is not None
    assert expected.face is not None
    assert sample.audio is not None
    assert sample.audio.dtype == np.float32
    np.testing.assert_array_equal(sample.audio, expected.audio.power)
    np.testing.assert_array_equal(sample.face, expected.face.landmarks)
    assert sample.prosody is not None
    np.testing.assert_array_equal(sample.prosody, expected.audio.prosody)
    assert expected.face.pictures is not None
    assert sample.pictures is not None
    assert sample.pictures.dtype == np.float32
    np.testing.assert_array_equal(sample.pictures, expected.face.pictures)
    neutral = extraction.neutral(expected.track)
    assert neutral is not None
    np.testing.assert_array_equal(sample.neutral, neutral)  # that of the whole file
    np.testing.assert_array_equal(made[1].samples[3].neutral, neutral)


def test_cached_features_are_not_computed_again(media: Path, made: tuple[Path, Corpus]) -> None:
    cache, corpus = made
    before, steps = kept_in(cache), Steps()
    again = extract_rows(media, rows_in(media)[::-1], kept_by(cache), steps)
    assert steps.seen == []
    assert kept_in(cache) == before
    assert len(before) == 2
    by_key = {sample.key.partition("#")[0]: sample for sample in again.samples}
    np.testing.assert_array_equal(by_key[NEUTRAL].audio, corpus.samples[0].audio)


def test_a_renamed_file_is_found_in_the_cache(
    media: Path, made: tuple[Path, Corpus], tmp_path: Path
) -> None:
    shutil.copy(media / NEUTRAL, tmp_path / "renamed.mp4")
    steps = Steps()
    corpus = extract_rows(tmp_path, [Row(tmp_path / "renamed.mp4")], kept_by(made[0]), steps)
    assert steps.seen == []
    assert [sample.key for sample in corpus.samples] == ["renamed.mp4#0"]


def test_an_interrupted_run_continues(
    media: Path, made: tuple[Path, Corpus], tmp_path: Path
) -> None:
    rows = rows_in(media)
    with pytest.raises(KeyboardInterrupt):
        extract_rows(media, rows, kept_by(tmp_path), StopAt(f"[2/2] {HAPPY}"))
    before, steps = kept_in(tmp_path), Steps()
    assert len(before) == 1  # and no unfinished file beside it
    corpus = extract_rows(media, rows, kept_by(tmp_path), steps)
    assert steps.seen == [f"[2/2] {HAPPY}"]
    assert before.items() <= kept_in(tmp_path).items()
    assert corpus.digest() == made[1].digest()


def test_ctrl_c_keeps_finished_files(clips: Path, tmp_path: Path) -> None:
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
        _, printed = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert printed == "avsent: interrupted\n"
    assert len(kept_in(cache)) == 1
    assert not out.exists()


def test_a_damaged_cache_file_is_computed_again(
    media: Path, made: tuple[Path, Corpus], tmp_path: Path
) -> None:
    cache = copied(made[0], tmp_path / "cache")
    place = FeatureCache(kept_by(cache)).place(media / NEUTRAL, [Segment(0.0, 300.0)])
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    steps = Steps()
    corpus = extract_rows(media, rows_in(media), kept_by(cache), steps)
    assert steps.seen == [f"[1/2] {NEUTRAL}"]
    assert corpus.digest() == made[1].digest()
    assert place.read_bytes() == whole


def test_all_unreadable_files_in_one_line(media: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    rows = [
        Row(tmp_path / "empty.mp4", where="list.csv:2"),
        Row(tmp_path / "gone.mp4", where="list.csv:3"),
        Row(tmp_path / "gone.mp4", 0.0, 1.0, where="list.csv:4"),
        Row(media / NEUTRAL, where="list.csv:5"),
    ]
    cache = tmp_path / "cache"
    with pytest.raises(DatasetError) as caught:
        extract_rows(media, rows, kept_by(cache))
    message = str(caught.value)
    assert message.startswith("list.csv:2: ")
    assert message.endswith("(and 1 other file); run 'avsent data check', or give --skip-broken")
    assert "empty.mp4 is empty" in message
    assert not cache.exists()  # before the analysis


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
            extract_rows(tmp_path, [row], kept_by(tmp_path / "cache"))
    silent = Row(sound, 1.0, 2.0, where="list.csv:8")
    with pytest.raises(DatasetError, match="no utterance has a voice or a face"):
        extract_rows(tmp_path, [silent], kept_by(tmp_path / "cache"))


def test_face_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--face all is for prediction"):
        extract_rows(tmp_path, [], CorpusOptions(face=FaceChoice.all, cache=tmp_path))


def test_a_cache_that_cannot_be_written(media: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make the folder .*; choose one with --cache"):
        extract_rows(media, rows_in(media), kept_by(tmp_path / "file"))


# --- avsent extract ------------------------------------------------------------------------------


def test_extract_from_the_command_line(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "video,start_s,end_s,speaker,split,label\n"
        f"{clips / 'talk_happy_zh.mp4'},0.5,1.5,b,train,happy\n"
        f"{clips / 'talk_happy_zh.mp4'},90,91,b,train,happy\n"
    )
    out, cache = tmp_path / "out.npz", tmp_path / "cache"
    done = run_avsent("extract", tmp_path, "-o", out, "--cache", cache)
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 utterance without a voice or a face, left out: manifest.csv:3" in done.stderr
    (sample,) = open_corpus(out).samples
    assert sample.labels == {"label": "happy"}
    assert sample.audio is not None
    assert sample.face is not None
    assert sample.prosody is not None
    assert sample.pictures is None  # people can be recognised in them
    done = run_avsent("extract", tmp_path, "-o", out, "--cache", cache, "--pictures")
    assert done.returncode == 0
    (sample,) = open_corpus(out).samples
    assert sample.pictures is not None
    assert len(list((cache / "features").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("extract", "a.mp4", "-o", "out.csv"), 2, "must end in .npz"),
        (("extract", "a.mp4", "-o", "x.npz", "--face", "all"), 2, "--face all is for prediction"),
        (("extract", "gone", "-o", "x.npz"), 3, "gone: no such file"),
        (("extract", "sub", "-o", "no/x.npz"), 3, "there is no folder no"),
        (("extract", "sub", "-o", "x.npz"), 3, "sub: no labelled utterances"),
        (("extract", "a.npz", "-o", "a.npz"), 2, "is an input"),
    ],
)
def test_extract_errors(arguments: tuple[str, ...], code: int, message: str, folder: Path) -> None:
    (folder / "a.npz").touch()
    done = run_avsent(*arguments, cwd=folder)
    assert done.returncode == code
    assert message in done.stderr.partition("\n")[0]
    assert not (folder / "x.npz").exists()


def test_reading_data_loads_no_torch() -> None:
    package = Corpus.__module__.rpartition(".")[0]
    code = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module({package!r})\n"
        "names = {module.name for module in pkgutil.iter_modules(package.__path__)}\n"
        "assert {'manifest', 'open', 'text'} <= names\n"
        "for name in names:\n"
        "    importlib.import_module(f'{package.__name__}.{name}')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
