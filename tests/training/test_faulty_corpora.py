"""Corpora as people have them: missing labels, other scales, other paths, broken files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from corpora import write
from media_files import write_video
from small_runs import files, read, run_small, small_corpus, small_settings

from avsent.cli.app import main
from avsent.cli.options import label_scale
from avsent.errors import DatasetError, MediaError, UsageError
from avsent.labels import LabelScale, is_missing, label_set
from avsent.model.checkpoint import load_config
from avsent.training.data import open as opening
from avsent.training.data.arrays import load_arrays, pack_json, save_arrays
from avsent.training.data.check import LabelCheck, find_problems, probe_files
from avsent.training.data.corpus import Corpus, Row
from avsent.training.data.feature_files import (
    CorpusOptions,
    MediaFeatures,
    read_features,
    write_features,
)
from avsent.training.data.manifest import read_label_map, read_rows
from avsent.training.data.text import read_text_corpus

MISSING = [
    "",
    " ",
    "nan",
    "NaN",
    "NA",
    "n/a",
    "#N/A",
    "N.A.",
    "<NA>",
    "None",
    "null",
    "missing",
    "NaT",
]
MISSING += ["#NV", "#DIV/0!", "#NAME?", "-1.#IND"]
MISSING += ["-", "--", "–", "?", r"\N"]
CASES = SHARED / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
CODES = LabelScale(1, 5)


# --- words for missing ---------------------------------------------------------------------------


@pytest.mark.parametrize("word", MISSING)
def test_words_for_missing_are_no_label(word: str) -> None:
    assert is_missing(word)
    assert label_set(["sad", word, "joy"]).names == ("happy", "sad")
    assert label_set(["-1.5", word, "2"]).real
    for kind in ("2", "3", "7", "real", "sad,joy"):
        assert label_set([], kind).encode(word) is None


@pytest.mark.parametrize("label", ["no", "neutral", "0", "-1", "nana", "nasty", "anna", "n"])
def test_labels_are_not_missing(label: str) -> None:
    assert not is_missing(label)


MMSA = "video_id,clip_id,text,label,annotation,mode\nv,1,a,1.5,P,train\nv,2,b,{},N,train\n"
MELD = (
    "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    "a,Ann,joy,positive,0,0\nb,Bob,anger,{},0,1\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest.csv", "video,label\na.mp4,happy\nb.mp4,{}\n"),
        ("label.csv", MMSA),
        ("train_sent_emo.csv", MELD),
    ],
)
@pytest.mark.parametrize("word", ["nan", "N/A", "?"])
def test_missing_labels_in_all_layouts(name: str, text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "Raw").mkdir()
    write(tmp_path / name, text.format(word))
    rows = read_rows(tmp_path)
    check = LabelCheck(rows, "label", "auto")
    found = find_problems(rows, probe_files(row.media for row in rows), check, "speaker")
    (problem,) = (problem for problem in found if problem.kind == "unlabelled")
    assert problem.where == f"{name}:3"
    assert problem.detail == f"label is “{word}”"
    assert len(check.texts) == 1


def test_missing_labels_of_a_text_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "text,label\ngood,positive\nso,N/A\nwell,null\n")
    assert [item.labels for item in read_text_corpus(path)] == [{"label": "positive"}, {}, {}]


# --- numbers on another scale --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "kind", "seen"),
    [
        ("0 1 2", "auto", "from 0 to 2 (0, 1, 2)"),  # codes of classes
        ("0 1", "auto", "from 0 to 1 (0, 1)"),
        ("1 2 3 4 5", "3", "from 1 to 5 (1, 2, 3, 4, 5)"),
        ("1.5 8.25 9", "auto", "from 1.5 to 9 (1.5, 8.25, 9)"),  # valence
        ("0.1 0.9 nan", "real", "from 0.1 to 0.9"),  # arousal
        ("-4 0 4", "7", "from -4 to 4"),
        ("1 2 unsure", "auto", "from 1 to 2"),
        ("-1 0.2 0.8", "auto", "from -1 to 0.8"),  # CH-SIMS
        ("-3 0 2.2", "auto", ""),
        ("-1 0 1", "3", ""),
        ("-0.4 0.6", "auto", ""),
        ("happy sad", "auto", ""),
    ],
)
def test_numbers_that_are_hardly_sentiment(labels: str, kind: str, seen: str) -> None:
    texts = labels.split()
    doubt = label_set(texts, kind).doubt(texts)
    assert (seen in doubt) if seen else not doubt
    assert not seen or "−3 to 3: change" in doubt or labels in ("0 1", "1 2 unsure")
    assert not seen or ("--label-range LOW HIGH" in doubt and "--label-map FILE" in doubt)


@pytest.mark.parametrize(
    ("scale", "label", "expected"),
    [
        ((1, 5), "1", "-3.0"),
        ((1, 5), " 3.0 ", "0.0"),
        ((1, 9), "8", "2.25"),
        ((5, 1), "5", "-3.0"),
        ((0, 1), "0.75", "1.5"),
        ((1, 5), "", ""),
        ((1, 5), "n/a", "n/a"),
        ((1, 5), "happy", "happy"),
    ],
)
def test_label_range(scale: tuple[float, float], label: str, expected: str) -> None:
    assert LabelScale(*scale).read(label) == expected


def test_labels_outside_the_scale() -> None:
    for scale, label, message in (
        (CODES, "0", "'0' is outside --label-range 1 5"),
        (LabelScale(names={"1": "happy"}), "2", "'2' is not in the file of --label-map"),
    ):
        with pytest.raises(DatasetError, match=message):
            scale.read(label)
        rows = [Row(Path("/none"), labels={"label": label}, where="m:2")]
        (problem,) = LabelCheck(rows, "label", "auto", scale).problems(rows[0])
        assert (problem.kind, problem.detail) == (
            "bad_label",
            f"label: {message}; {'mend it or the range' if scale is CODES else 'add it'}",
        )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.csv", "0,negative\n1,neutral\n02,positive\n9,\n"),
        ("map.txt", "0;negative\n1;neutral\n2;positive\n9;nan\n"),
        ("map.json", '{"0": "negative", "1": "neutral", "2.0": "positive", "9": null}'),
    ],
)
def test_label_map(name: str, text: str, tmp_path: Path) -> None:
    scale = read_label_map(write(tmp_path / name, text))
    read_labels = [scale.read(label) for label in ("0", "1.0", "2", "9", "Positive", "?")]
    chosen = label_set(read_labels)
    assert [chosen.encode(label) for label in read_labels] == [0, 1, 2, None, 2, None]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.csv", "", "no pairs; write value,label in each row"),
        ("map.csv", "0,negative\n1\n", "no pairs"),
        ("map.json", "{}", "no pairs"),
        ("map.json", '{"0": ["negative"]}', "no pairs"),
        ("map.json", "[1]", "is not an object"),
    ],
)
def test_label_maps_that_cannot_be_read(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        read_label_map(write(tmp_path / name, text))


def test_a_label_map_that_no_checkpoint_could_hold(tmp_path: Path) -> None:
    rows = "".join(f"code {n},positive\n" for n in range(5000))
    with pytest.raises(UsageError, match="a label map has over 50000 characters"):
        label_scale(None, write(tmp_path / "map.csv", rows))


def on_scale(corpus: Corpus, scale: LabelScale) -> Corpus:
    """The same sentiment, written as numbers of ``scale``, which the corpus does not state."""
    span = scale.high - scale.low
    return corpus.subset(
        dataclasses.replace(
            one,
            labels={"sentiment": repr(scale.low + (float(one.labels["sentiment"]) + 3) / 6 * span)},
        )
        for one in corpus.samples
    )


def test_the_model_keeps_the_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = small_corpus()
    settings = small_settings(label="sentiment", target=("audio",))
    coded = dataclasses.replace(on_scale(corpus, CODES), scale=CODES)
    run_small(tmp_path / "run", coded, settings)
    run_small(tmp_path / "plain", corpus, settings)
    assert read(tmp_path / "run/config.json")["data"]["label_scale"]["high"] == 5
    card = (tmp_path / "run/checkpoint/CARD.md").read_text("utf-8")
    assert "Labels were read by --label-range 1 5." in card
    assert load_config(tmp_path / "run/checkpoint").label_scale == CODES
    assert load_config(tmp_path / "plain/checkpoint").label_scale is None
    write_features(tmp_path / "stated.npz", coded)
    assert read_features(tmp_path / "stated.npz").scale == CODES
    mirrored = dataclasses.replace(on_scale(corpus, CODES), scale=LabelScale(5, 1))
    write_features(tmp_path / "mirrored.npz", mirrored)
    write_features(tmp_path / "coded.npz", on_scale(corpus, CODES))

    def confusion(data: str, *more: str) -> tuple[list[list[int]], str]:
        where = [str(tmp_path / "run/checkpoint"), str(tmp_path / data)]
        arguments = ["--label", "sentiment", "--format", "json", "--draws", "100", *more]
        assert main(["evaluate", *where, *arguments]) == 0
        out, err = capsys.readouterr()
        return json.loads(out)["confusion"], err

    expected, said = confusion("stated.npz")
    assert "warning" not in said
    found, said = confusion("coded.npz")  # as the checkpoint says
    assert found == expected
    assert "labels are read as in the model's training: --label-range 1 5" in said
    for data, more in (
        ("mirrored.npz", []),  # the file goes before the checkpoint, the option before both
        ("coded.npz", ["--label-range", "5", "1"]),
        ("stated.npz", ["--label-range", "5", "1"]),
    ):
        found, said = confusion(data, *more)
        assert found == expected[::-1]
        assert "warning" not in said
    write_features(tmp_path / "words.npz", on_scale(corpus, LabelScale(10, 20)))
    assert main(["evaluate", str(tmp_path / "run/checkpoint"), str(tmp_path / "words.npz")]) == 3


@pytest.mark.parametrize(
    "scale", [5, {"low": 1.0, "high": 1.0}, {"low": "1"}, {"names": {"a": 1}}, {"nope": 1}]
)
def test_a_damaged_scale_of_a_feature_file(scale: object, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_features(path, dataclasses.replace(small_corpus(), scale=CODES))
    held = load_arrays(path)
    header = json.loads(held["header"].tobytes()) | {"label_scale": scale}
    save_arrays(path, held | {"header": pack_json(header)})
    with pytest.raises(DatasetError, match=r"x\.npz: no usable feature file \(.*label"):
        read_features(path)


def test_train_with_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = on_scale(small_corpus(), LabelScale(0, 2))
    codes = [
        dataclasses.replace(s, labels={"label": f"{float(s.labels['sentiment']):.0f}"})
        for s in corpus.samples
    ]
    write_features(tmp_path / "data.npz", corpus.subset(codes))
    write(tmp_path / "map.csv", "0,negative\n2,positive\n")
    train = ["train", str(tmp_path / "data.npz"), "--epochs", "1", "--target", "audio"]
    assert main([*train, "-o", str(tmp_path / "doubtful")]) == 0
    said = capsys.readouterr().err.splitlines()
    warnings = [line for line in said if "warning" in line and "labelled" not in line]
    assert len(warnings) == 1
    assert "tiny: column 'label': labels are numbers from 0 to 2 (0, 2)" in warnings[0]
    mapped = ["--label-map", str(tmp_path / "map.csv")]
    assert main([*train, *mapped, "-o", str(tmp_path / "mapped")]) == 0
    assert "labels are numbers" not in capsys.readouterr().err
    config = load_config(tmp_path / "mapped/checkpoint")
    assert config.model.labels == ("negative", "positive")
    assert config.label_scale == LabelScale(names={"0": "negative", "2": "positive"})
    both = ["--label-range", "0", "2"]
    assert main([*train, *mapped, *both, "-o", str(tmp_path / "x")]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert main([*train, "--label-range", "2", "2", "-o", str(tmp_path / "x")]) == 2
    assert "two different numbers" in capsys.readouterr().err


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "named", "found", "said"),
    [
        ("v/happy.mp4", r"v\happy.mp4", "v/happy.mp4", "v/happy.mp4 is used"),
        ("v/a b/x.mp4", r"v\a b\x.mp4", "v/a b/x.mp4", "is used"),
        ("v/x.mp4", r"C:\Users\bob\corpus\v\x.mp4", "v/x.mp4", "v/x.mp4 is used"),
        ("v/x.mp4", r"\\server\share\v\x.mp4", "v/x.mp4", "v/x.mp4 is used"),
        ("v/x.mp4", "/home/bob/v/x.mp4", "v/x.mp4", "v/x.mp4 is used"),
        ("v/0007.mp4", "v/7.mp4", "v/0007.mp4", "v/0007.mp4 is used"),
        ("001/002.wav", "1/2", "001/002.wav", "001/002.wav is used"),
        ("V/Happy.MP4", "v/happy.mp4", "V/Happy.MP4", "V/Happy.MP4 is used"),
        ("v/happy.mkv v/happy.srt", "v/happy", "v/happy.mkv", "v/happy.mkv is used"),
        ("v/7.mp4 v/07.mp4", r"v\7.mp4", "v/7.mp4", "is used"),
        ("v/007.mp4 v/07.mp4", "v/7.mp4", "v/7.mp4", "it may be v/007.mp4 or v/07.mp4: write"),
        ("v/x.mp4 v/x.wav", "v/x", "v/x", "it may be v/x.mp4 or v/x.wav: write the exact path"),
        ("v/x.mp4", r"..\v\x.mp4", r"..\v\x.mp4", "write its path from the folder of the list"),
        ("v/x.mp4", "v/y.mp4", "v/y.mp4", ""),
        ("v/x.mp4", "v/x.mp4/y.mp4", "v/x.mp4/y.mp4", ""),
        ("v/x.mp4", "v/" + 300 * "x", "v/" + 300 * "x", ""),
        ("v/x.mp4", "v/x.mp4", "v/x.mp4", ""),
    ],
)
def test_files_under_another_path(
    there: str, named: str, found: str, said: str, tmp_path: Path
) -> None:
    for name in re_split(there):
        write(tmp_path / name, name)
    write(tmp_path / "manifest.csv", f'video,label\n"{named}",happy\n')
    warnings: list[str] = []
    (row,) = read_rows(tmp_path, warnings.append)
    assert row.media == tmp_path / found
    assert len(warnings) == bool(said)
    assert not said or (warnings[0].startswith("manifest.csv:2: no file ") and said in warnings[0])


def re_split(names: str) -> list[str]:
    """File names that end in .xyz, separated by blanks."""
    words = names.replace("a b", "a\0b").split(" ")
    return [word.replace("\0", " ") for word in words]


def test_hostile_manifests_take_no_hours(tmp_path: Path) -> None:
    deep = write(tmp_path / "deep.csv", f"video,label\n/{'a/' * 30_000}x.mp4,positive\n")
    assert len(read_rows(deep)) == 1
    wide = write(tmp_path / "wide.csv", "video,label" + "," * 500_000 + "\n" + "a,1\n" * 3000)
    assert len(read_rows(wide)) == 3000


def test_one_file_is_not_taken_for_two(tmp_path: Path) -> None:
    write(tmp_path / "v/007.mp4", "x")
    write(tmp_path / "manifest.csv", "video,label\nv/7.mp4,x\nv/07.mp4,y\nv/007.mp4,z\n")
    warnings: list[str] = []
    names = [row.media.name for row in read_rows(tmp_path, warnings.append)]
    assert names == ["7.mp4", "07.mp4", "007.mp4"]
    assert warnings == [
        "manifest.csv:2: no file v/7.mp4; it may be v/007.mp4: write the exact path "
        "(and 1 other file)"
    ]


def test_ids_of_mmsa_that_lost_their_zeros(tmp_path: Path) -> None:
    write(tmp_path / "Raw/video_0001/0002.mp4", "x")
    write(tmp_path / "label.csv", "video_id,clip_id,label,mode\nvideo_0001,2,1.5,train\n")
    (row,) = read_rows(tmp_path)
    assert row.media == tmp_path / "Raw/video_0001/0002.mp4"
    assert row.context == "video_0001"


@needs_cases
def test_shared_manifests() -> None:
    rows = read_rows(CASES / "manifest-backslashes")
    assert [row.media.is_file() for row in rows] == [True] * 3
    for name in ("manifest.csv", "manifest-na.csv"):
        rows = read_rows(CASES / "manifest-missing-labels" / name)
        labels = LabelCheck(rows, "label", "auto").label_set
        assert labels is not None
        assert labels.names == ("negative", "positive")


# --- tables with other separators ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "video;start_s;end_s;label;text\na.mp4;0,5;2,25;-1,5;so, so\n",
        "video\tstart_s\tend_s\tlabel\ttext\r\na.mp4\t0.5\t2,25\t-1.5\tso, so\r\n",
        '\nvideo;start_s;end_s;label;text\na.mp4;0.5;2.25;-1.5;"so, so"\n',
    ],
)
def test_semicolons_and_tabs(text: str, tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path / "m.csv", text))
    assert (row.start_s, row.end_s, row.labels, row.text) == (
        *(0.5, 2.25, {"label": "-1.5"}, "so, so"),
    )


# --- broken files --------------------------------------------------------------------------------


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(path.name.encode().ljust(16) * 500)
    return path


def fake_features(file: opening._File, *_: object) -> MediaFeatures:
    """Noise, with a warning of tracks."""
    rng, count = np.random.default_rng(len(file.name)), len(file.segments)
    power = rng.gamma(1.0, 1.0, (64, 24)).astype(np.float32)
    prosody, none = np.zeros(24, np.float32), (None,) * count
    warnings = ("2 sound tracks: judged by 1, not by 2; choose with --audio-track",)
    return MediaFeatures((power,) * count, none, none, none, (prosody,) * count, 0.5, warnings)


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are analysed, if only for show."""
    names: list[str] = []

    def analyse(file: opening._File, *rest: object) -> MediaFeatures:
        names.append(file.name)
        return fake_features(file)

    monkeypatch.setattr(opening, "_analysed", analyse)
    return names


BROKEN: dict[str, Callable[[Path], object]] = {
    "cut.mp4": lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(99)),
    "empty.mp4": lambda path: path.touch(),
    "gone.mp4": lambda path: None,
    "folder.mp4": lambda path: path.mkdir(),
    "page.mp4": lambda path: path.write_text("<html>404</html>"),
    "dangling.mp4": lambda path: path.symlink_to("nowhere.mp4"),
}


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    """A manifest of six good files of six speakers, and of one of each kind of broken file."""
    folder = tmp_path / "corpus"
    lines = []
    for number in range(6):
        sound(folder / f"good{number}.wav")
        label = ("happy", "sad")[number % 2]
        split = ("train", "train", "train", "valid", "valid", "test")[number]
        lines.append(f"good{number}.wav,s{number},{split},{label}")
    for name, make in BROKEN.items():
        make(folder / name)
        lines.insert(2, f"{name},b,train,rare")
    write(folder / "manifest.csv", "\n".join(["video,speaker,split,label", *lines]))
    return folder


def test_broken_files_are_refused_before_the_analysis(
    holes: Path, tmp_path: Path, analysed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (
        ["extract", str(holes), "-o", str(tmp_path / "x.npz")],
        ["train", str(holes), "-o", str(tmp_path / "out")],
    ):
        assert main([*command, "--cache", str(tmp_path / "cache")]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("avsent: error: manifest.csv:4: ")
        assert "(and 5 other files); run 'avsent data check', or give --skip-broken" in line
    assert analysed == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


def test_broken_files_are_left_out(
    holes: Path, tmp_path: Path, analysed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--skip-broken", "--cache", str(tmp_path / "cache")]
    train = ["train", str(holes), "--target", "audio", "--epochs", "1", *options]
    assert main([*train, "-o", str(tmp_path / "out")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    (left_out,) = (line for line in warnings if "left out" in line)
    assert "6 files left out: manifest.csv:4: " in left_out
    assert left_out.endswith("… (avsent data check lists all)")
    (tracks,) = (line for line in warnings if "2 sound tracks" in line)
    assert tracks.endswith("good0.wav and 5 other files: 2 sound tracks: judged by 1, not by 2")
    listed = (tmp_path / "out/left-out.txt").read_text().splitlines()
    assert len(listed) == 6
    for name in BROKEN:
        assert sum(name in line for line in listed) == 1
    assert len(analysed) == 6
    # A label that only broken files have is no class.
    assert load_config(tmp_path / "out/checkpoint").model.labels == ("happy", "sad")
    out = tmp_path / "x.npz"
    assert main(["extract", str(holes), "-o", str(out), *options]) == 0
    assert len(read_features(out).samples) == 6
    assert main(["evaluate", str(tmp_path / "out/checkpoint"), str(holes), *options]) == 0
    assert "6 files left out" in capsys.readouterr().err


def test_import_without_broken_files(holes: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "m.csv")
    assert main(["data", "import", str(holes), "-o", target]) == 0
    assert len(read_rows(Path(target))) == 12
    assert main(["data", "import", str(holes), "-o", target, "--force", "--skip-broken"]) == 0
    assert [row.media.name for row in read_rows(Path(target))] == [
        f"good{number}.wav" for number in range(6)
    ]


def test_nothing_but_broken_files(
    tmp_path: Path, analysed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "manifest.csv", "video,label\na.mp4,happy\nb.mp4,sad\n")
    for command in (["extract"], ["data", "import"], ["train"]):
        out = tmp_path / ("m.csv" if "import" in command else "x.npz")
        assert main([*command, str(tmp_path), "-o", str(out), "--skip-broken"]) == 3
        line = capsys.readouterr().err
        assert "manifest.csv:2: " in line
        assert line.endswith("(and 1 other file); run 'avsent data check'\n")


def test_a_file_that_breaks_in_the_analysis(
    holes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyse(file: opening._File, *rest: object) -> MediaFeatures:
        if file.name == "good3.wav":
            raise MediaError("good3.wav cannot be decoded; mend it")
        return fake_features(file)

    monkeypatch.setattr(opening, "_analysed", analyse)
    rows = [row for row in read_rows(holes) if row.media.suffix == ".wav"]
    with pytest.raises(DatasetError, match=r"good3.wav cannot be decoded; give --skip-broken"):
        opening.extract_rows(holes, rows, CorpusOptions(cache=tmp_path / "cache"))
    said: list[str] = []
    options = CorpusOptions(cache=tmp_path / "cache", skip_broken=True)
    corpus = opening.extract_rows(holes, rows, options, on_warning=said.append)
    assert len(corpus.samples) == 5
    assert corpus.left_out == ("manifest.csv:11: good3.wav cannot be decoded",)
    assert "left out: manifest.csv:11: good3.wav cannot be decoded" in said


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("good3.wav,s3,valid", "good3.wav,s0,valid"), [], "'s0' is in train and in valid"),
        (("test,sad", "test,2"), ["--labels", "sad,happy"], "'2' is none of the labels"),
        (("happy", "nan"), [], "the labels hold 1 classes; at least two are needed"),
        (("sad", "7"), ["--label-range", "1", "5"], "'7' is outside --label-range 1 5"),
    ],
)
def test_labels_and_parts_are_checked_before_the_analysis(
    change: tuple[str, str],
    arguments: list[str],
    message: str,
    holes: Path,
    tmp_path: Path,
    analysed: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = holes / "manifest.csv"
    lines = [line for line in manifest.read_text().splitlines() if ".mp4" not in line]
    manifest.write_text("\n".join(lines).replace(*change))
    assert main(["train", str(holes), "-o", str(tmp_path / "out"), *arguments]) == 3
    assert message in capsys.readouterr().err
    assert analysed == []
    assert not (tmp_path / "out").exists()


def test_speakers_of_meld_in_two_parts(
    tmp_path: Path, analysed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As published: the six friends are in all parts."""
    for part, folder in (("train", "train_splits"), ("dev", "dev_splits_complete")):
        write(tmp_path / f"{part}_sent_emo.csv", MELD.format("negative"))
        for number in range(2):
            made = sound(tmp_path / folder / f"{part}{number}.wav")
            made.rename(made.with_name(f"dia0_utt{number}.mp4"))
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "out")]) == 3
    assert "speaker 'Ann' is in train and in valid" in capsys.readouterr().err
    assert analysed == []


def test_evaluations_are_checked_before_the_analysis(
    holes: Path, analysed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = holes / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",valid,", ",train,"))
    evaluate = ["evaluate", "default", str(holes), "--skip-broken", "--split"]
    assert main([*evaluate, "valid"]) == 3
    assert "has no part 'valid'; choose another --split" in capsys.readouterr().err
    manifest.write_text(manifest.read_text().replace("test,sad", "test,purple"))
    assert main([*evaluate, "test"]) == 3
    assert "'purple' is none of the labels negative" in capsys.readouterr().err
    assert analysed == []


@needs_cases
@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_shared_corpus_with_holes(
    tmp_path: Path, analysed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    good, corpus = write_video(tmp_path / "good.mp4", [0, 40, 80, 2000]), tmp_path / "meld"
    subprocess.run(["sh", CASES / "corpus-with-holes.sh", good, corpus], check=True)
    extract = ["extract", str(corpus), "-o", str(tmp_path / "x.npz")]
    extract += ["--cache", str(tmp_path / "cache")]
    assert main(extract) == 3
    assert "dia0_utt4.mp4 " in capsys.readouterr().err
    assert analysed == []
    assert main([*extract, "--skip-broken"]) == 0
    assert len(analysed) == 4
    assert "3 files left out: train_sent_emo.csv:6: " in capsys.readouterr().err
    assert len(read_features(tmp_path / "x.npz").samples) == 4
    assert files(tmp_path / "cache")
