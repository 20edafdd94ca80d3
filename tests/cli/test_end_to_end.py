"""The installed command on every real clip, and on one whose sound is drowned in noise."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
from conftest import SAMPLE, run_avsent

from avsent.cli.app import main
from avsent.options import PredictOptions
from avsent.predictor import Predictor
from avsent.result.record import UtteranceResult

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "result.schema.json").read_text("utf-8")
)

NO_SOUND = {"no_audio_face.mp4", "no_audio_cinepak.avi", "face_20s.mp4"}
"""Face, but no sound stream or a silent one: judged by the face, in windows."""
NEITHER = {
    "-leading-dash-1x1.mp4",
    "rotated_90_3frames.mov",
    "unordered_pts.mov",
    "corrupted_midway.mp4",
    "no_duration.webm",
    "no_face_vfr.mp4",
    "rotated_180_vfr_noface.mp4",
    "failing_audio.mp4",
}
NO_SPEECH = {"old_film_two_faces.mp4", "face_leaves_hevc_vfr.mov"}
"""Face and sound, but nobody speaks."""
VOICE_ALONE = {"speech_only.wav"}
DAMAGED = {"corrupted_midway.mp4"}
REFUSED = {"empty_file.webm"}


def media_in(clips: Path) -> list[Path]:
    ends = {".mp4", ".mov", ".webm", ".avi", ".wav", ".mpg"}
    return sorted(p for p in clips.rglob("*") if p.suffix in ends)


@pytest.fixture(scope="module")
def outcome(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results by file name, and the run itself."""
    out = tmp_path_factory.mktemp("all")
    media = media_in(clips)
    run = run_avsent("predict", "-o", f"{out}/", "--", *media)
    results = {
        path.name: json.loads((out / f"{path.name}.json").read_text("utf-8"))
        for path in media
        if (out / f"{path.name}.json").exists()
    }
    return {"run": run, "results": results, "media": [p.name for p in media], "out": out}


def test_every_clip_has_its_outcome(outcome: dict[str, Any]) -> None:
    run, results = outcome["run"], outcome["results"]
    assert run.returncode == 5, run.stderr  # one file is empty, the rest is done
    assert set(results) == set(outcome["media"]) - REFUSED
    errors = [line for line in run.stderr.splitlines() if line.startswith("avsent: error")]
    assert len(errors) == 2  # the empty file, and the count
    assert "empty_file.webm" in errors[0]
    assert "Traceback" not in run.stderr
    assert not [p for p in outcome["out"].iterdir() if p.suffix != ".json"]  # nothing half-written


def test_results_keep_the_schema(outcome: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for name, result in outcome["results"].items():
        assert not list(validator.iter_errors(result)), name


def test_clips_without_speech_or_face(outcome: dict[str, Any]) -> None:
    results = outcome["results"]
    for name in NEITHER | NO_SPEECH:
        assert results[name]["utterances"] == [], name
        assert "no utterances" in results[name]["warnings"][-1], name
    for name in NO_SPEECH:
        assert results[name]["tracks"], name
        assert "no speech found" in results[name]["warnings"][-1], name


def test_clips_with_one_modality(outcome: dict[str, Any]) -> None:
    results = outcome["results"]
    for name, missing in [(n, "audio") for n in NO_SOUND] + [(n, "face") for n in VOICE_ALONE]:
        assert results[name]["utterances"], name
        for utterance in results[name]["utterances"]:
            share = utterance["modalities"][missing]
            assert share == {"weight": 0, "effective": False}, name
            assert utterance["attention"]["context"][missing] == []
            assert utterance["end_s"] - utterance["start_s"] <= 8.0 + 1e-6 or missing == "face"
    for name in NO_SOUND:
        assert any("judged by the face alone" in w for w in results[name]["warnings"]), name


def test_talking_heads_use_both(outcome: dict[str, Any]) -> None:
    results = outcome["results"]
    talking = set(results) - NEITHER - NO_SPEECH - NO_SOUND - VOICE_ALONE
    assert len(talking) >= 25
    for name in talking:
        assert results[name]["utterances"], name
    both = [
        name
        for name in talking
        if all(m["effective"] for m in results[name]["utterances"][0]["modalities"].values())
    ]
    # The one that lacks a face sees a bowed, dark head that no landmarks fit.
    assert set(talking) - set(both) <= {"small_faces_sad_zh.mp4"}


def test_sums_and_order(outcome: dict[str, Any]) -> None:
    for name, result in outcome["results"].items():
        tracks = {track["track"] for track in result["tracks"]}
        previous_s = -1.0
        for index, utterance in enumerate(result["utterances"]):
            assert utterance["index"] == index
            assert utterance["start_s"] >= previous_s
            previous_s = utterance["start_s"]
            assert utterance["track"] is None or utterance["track"] in tracks
            probabilities = utterance["probabilities"]
            assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
            score = probabilities["positive"] - probabilities["negative"]
            assert utterance["score"] == pytest.approx(score, abs=1e-5)
            shares = utterance["modalities"]
            assert sum(share["weight"] for share in shares.values()) == pytest.approx(1, abs=1e-4)
            attention = utterance["attention"]
            for modality, share in shares.items():
                frames = attention[f"{modality}_frames"]
                row = attention["context"][modality]
                assert bool(frames) == bool(row) == share["effective"], name
                if share["effective"]:
                    assert len(row) == len(result["utterances"])
                    assert sum(row) == pytest.approx(1, abs=1e-3)
                    assert sum(f["weight"] for f in frames) == pytest.approx(1, abs=1e-3)
                for frame in frames:
                    assert utterance["start_s"] <= frame["time_s"] <= utterance["end_s"], name


def test_damage_is_told_and_strict_refuses_it(outcome: dict[str, Any], clips: Path) -> None:
    for name in DAMAGED:
        assert any(" at " in warning for warning in outcome["results"][name]["warnings"])
        run = run_avsent("predict", "--strict", clips / name)
        assert run.returncode == 3
        assert run.stdout == ""
        assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["talk_vfr.mp4", "face_leaves_hevc_vfr.mov", "no_face_vfr.mp4"])
def test_times_are_presentation_times(outcome: dict[str, Any], clips: Path, name: str) -> None:
    with av.open(str(clips / name)) as container:
        stream = container.streams.video[0]
        shown_s = [float(f.pts * stream.time_base) for f in container.decode(stream)]
    result = outcome["results"][name]
    times_s = [
        frame["time_s"] for u in result["utterances"] for frame in u["attention"]["face_frames"]
    ]
    times_s += [track[key] for track in result["tracks"] for key in ("start_s", "end_s")]
    if name == "talk_vfr.mp4":
        assert len(times_s) > 30
    for time_s in times_s:
        assert min(abs(time_s - other) for other in shown_s) < 1e-3


def test_many_utterances_lie_within_the_true_ones(outcome: dict[str, Any], clips: Path) -> None:
    """The span of the utterances found in each true stretch overlaps it by 0.9 in the mean."""
    rows = (clips / "many_utterances.csv").read_text("utf-8").splitlines()[1:]
    true = [tuple(map(float, row.split(",")[:2])) for row in rows]
    found = [
        (u["start_s"], u["end_s"]) for u in outcome["results"]["many_utterances.mp4"]["utterances"]
    ]
    overlaps = []
    for start_s, end_s in true:
        inside = [(a, b) for a, b in found if min(b, end_s) - max(a, start_s) > (b - a) / 2]
        assert inside, start_s
        a, b = min(a for a, _ in inside), max(b for _, b in inside)
        overlaps.append((min(b, end_s) - max(a, start_s)) / (max(b, end_s) - min(a, start_s)))
    assert sum(overlaps) / len(overlaps) > 0.9


def test_missing_folder_and_no_media(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    for path in (tmp_path / "nothing.mp4", tmp_path, text):
        run = run_avsent("predict", path)
        assert (run.returncode, run.stdout) == (3, "")
        assert len(run.stderr.splitlines()) == 1, run.stderr
        assert str(path.name) in run.stderr


def test_unknown_and_damaged_checkpoint(tmp_path: Path) -> None:
    run = run_avsent("predict", "--checkpoint", "nosuch", SAMPLE)
    assert (run.returncode, len(run.stderr.splitlines())) == (4, 1)
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    run = run_avsent("predict", "--checkpoint", folder, SAMPLE)
    assert (run.returncode, len(run.stderr.splitlines())) == (4, 1)
    assert "broken" in run.stderr


def test_no_such_device() -> None:
    run = run_avsent("predict", "--device", "cuda:99", SAMPLE)
    assert run.returncode == 2
    assert "cuda:99" in run.stderr


# One clip with added noise

RATE_HZ = 16_000
CLIP = "lrs3_closeup.mp4"


def add_noise(source: Path, target: Path) -> Path:
    """A copy with the same video, and white noise of a hundred times the power of the sound."""
    with av.open(str(source)) as media, av.open(str(target), "w", format="matroska") as out:
        pictures = out.add_stream_from_template(media.streams.video[0])
        sound: Any = out.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for packet in media.demux(media.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                out.mux(packet)
        media.seek(0)
        mono = av.AudioResampler("flt", "mono", RATE_HZ)
        heard = [part for frame in media.decode(audio=0) for part in mono.resample(frame)]
        samples = np.concatenate([part.to_ndarray()[0] for part in heard])
        power = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
        noisy = samples + 10 * power * np.random.default_rng(0).normal(size=len(samples))
        loud = np.round(noisy * (0.9 / np.abs(noisy).max()) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(loud[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return target


@pytest.fixture(scope="module")
def noisy_folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with noise, and the times of its utterance."""
    place = tmp_path_factory.mktemp("noisy")
    add_noise(clips / CLIP, place / "noisy.mkv")
    (place / "spoken.csv").write_text("start_s,end_s\n0.1,2.1\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def plain_and_noisy(clips: Path, noisy_folder: Path) -> dict[str, UtteranceResult]:
    """The one utterance of the clip, and of its noisy copy, both checked."""
    predictor = Predictor.load(device="cpu")
    options = PredictOptions(utterances=noisy_folder / "spoken.csv")
    found = {}
    for name, path in (("plain", clips / CLIP), ("noisy", noisy_folder / "noisy.mkv")):
        (found[name],) = predictor.predict(path, options=options).utterances
    return found


@pytest.mark.usefixtures("one_thread")
def test_clean_clip_uses_voice_and_face(plain_and_noisy: dict[str, UtteranceResult]) -> None:
    plain = plain_and_noisy["plain"]
    assert plain.modalities["audio"].effective
    assert plain.modalities["face"].effective
    assert not plain.warnings


@pytest.mark.usefixtures("one_thread")
def test_noisy_voice_is_left_out(plain_and_noisy: dict[str, UtteranceResult]) -> None:
    noisy = plain_and_noisy["noisy"]
    assert not noisy.modalities["audio"].effective
    assert noisy.modalities["face"].effective
    assert (noisy.modalities["audio"].weight, noisy.modalities["face"].weight) == (0.0, 1.0)
    (warning,) = [text for text in noisy.warnings if "voice is not used" in text]
    assert "drowned in other sound" in warning


@pytest.mark.usefixtures("one_thread")
def test_no_check_keeps_the_noisy_voice(
    noisy_folder: Path,
    plain_and_noisy: dict[str, UtteranceResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoken = noisy_folder / "spoken.csv"
    # In this process: another one would load all libraries again, for seconds.
    media = str(noisy_folder / "noisy.mkv")
    options = ["--no-check", "--utterances", str(spoken), "-f", "json"]
    assert main(["predict", media, *options]) == 0
    (utterance,) = json.loads(capsys.readouterr().out)["utterances"]
    assert utterance["modalities"]["audio"]["effective"]
    assert utterance["modalities"]["face"]["effective"]
    assert utterance["modalities"]["audio"]["weight"] > 0
    assert not any("not used" in text for text in utterance["warnings"])
    assert utterance["probabilities"] != pytest.approx(plain_and_noisy["noisy"].probabilities)
