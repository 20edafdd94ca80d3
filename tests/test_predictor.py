"""The programming interface on real video."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import pickle
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SAMPLE
from media_files import in_the_dark, with_late_sound, with_sound_of
from processes import python

import avsent
from avsent.errors import BoundariesError, MediaError, UsageError
from avsent.extraction.extractor import (
    Extraction,
    FeatureConfig,
    FileFacts,
    UtteranceFeatures,
    extract_file,
)
from avsent.extraction.faces.tracking import FaceTracker
from avsent.extraction.features.face import face_features
from avsent.extraction.features.voice import audio_features
from avsent.extraction.media.audio import HighPass
from avsent.extraction.media.events import Frame, Sound
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.utterances.segmentation import EnergySpeechDetector
from avsent.machine import torch_device
from avsent.model.checkpoint import load_checkpoint, load_config
from avsent.model.decision import Decider
from avsent.model.encoding import EncodedUtterance
from avsent.options import FaceChoice, PredictOptions
from avsent.predictor import Analysis, Predictor, assemble
from avsent.progress import Progress
from avsent.result.record import ModelInfo, Result, UtteranceResult


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return avsent.load()


@pytest.fixture(scope="module")
def sample(predictor: Predictor) -> Result:
    return predictor.predict(SAMPLE)


def test_sample_has_four_utterances_and_the_smiles_are_positive(sample: Result) -> None:
    assert len(sample.utterances) == 4
    first, _, third, last = sample.utterances
    assert first.sentiment == last.sentiment == "positive"
    assert third.score < first.score
    assert sample.duration_s == pytest.approx(16.4, abs=0.1)


def test_the_same_file_gives_the_same_result(predictor: Predictor, sample: Result) -> None:
    assert predictor.predict(SAMPLE) == sample
    assert avsent.predict(SAMPLE) == sample


def test_progress_runs_to_the_end(predictor: Predictor) -> None:
    seen: list[Progress] = []
    (result,) = predictor.predict_many([SAMPLE], on_progress=seen.append)
    assert {progress.source for progress in seen} == {str(SAMPLE)}
    assert all(a.completed <= b.completed for a, b in itertools.pairwise(seen))
    assert seen[-1].completed == seen[-1].total == result.duration_s


def test_features_are_those_of_the_whole_file_at_once() -> None:
    """Parity: streaming extraction equals the training functions on the undivided streams."""
    config = FeatureConfig()
    streamed = list(Extraction(SAMPLE, config))
    tracker, sounds, seen = FaceTracker(), [], []
    with MediaReader(SAMPLE) as reader:
        for event in reader:
            if isinstance(event, Frame):
                seen += tracker.push(event.time_s, event.gray)
            elif isinstance(event, Sound):
                sounds.append(event)
    origin_s = sounds[0].start_s
    samples = HighPass()(np.concatenate([sound.samples for sound in sounds]))
    assert len(streamed) == 4
    for features in streamed:
        start_s, end_s = features.segment.start_s, features.segment.end_s
        first, last = (round((t - origin_s) * 16000) for t in (start_s, end_s))
        audio = audio_features(samples[first:last], origin_s + first / 16000, config.audio)
        assert audio is not None
        assert features.audio is not None
        np.testing.assert_array_equal(features.audio.power, audio.power)
        np.testing.assert_allclose(features.audio.times_s, audio.times_s, atol=1e-9)
        own = [o for o in seen if o.track == features.track and start_s <= o.time_s <= end_s]
        face = face_features(
            np.array([o.time_s for o in own]),
            np.stack([o.landmarks for o in own]),
            np.stack([o.crop for o in own]),
        )
        assert face is not None
        assert features.face is not None
        np.testing.assert_array_equal(features.face.landmarks, face.landmarks)
        np.testing.assert_array_equal(features.face.times_s, face.times_s)
        assert features.face.pictures is not None
        assert features.face.pictures.dtype == np.uint8
        assert features.face.pictures.shape == (-(-len(face.times_s) // 2), 48, 48)
        assert face.pictures is not None
        np.testing.assert_array_equal(features.face.pictures, face.pictures)


def test_silence_is_a_missing_modality(predictor: Predictor, clips: Path, tmp_path: Path) -> None:
    """Sound replaced by silence: the audio share is 0 and the decision that of the face alone."""
    source = clips / "talk_angry_zh.mp4"
    silent, without = tmp_path / "silent.mp4", tmp_path / "without.mp4"
    with_sound_of(source, silent, silence=True)
    with_sound_of(source, without, silence=False)
    heard, unheard = predictor.predict(silent), predictor.predict(without)
    assert heard.utterances == unheard.utterances
    assert heard.utterances
    for utterance in heard.utterances:
        assert utterance.modalities["audio"].weight == 0
        assert not utterance.modalities["audio"].effective
        assert utterance.modalities["face"].weight == 1

    spoken = predictor.predict(source)
    table = tmp_path / "spoken.csv"
    table.write_text(
        "start_s,end_s\n" + "".join(f"{u.start_s},{u.end_s}\n" for u in spoken.utterances)
    )
    options = PredictOptions(utterances=table)
    given = predictor.predict(silent, options=options)
    assert given.utterances == predictor.predict(without, options=options).utterances
    assert [u.start_s for u in given.utterances] == pytest.approx(
        [u.start_s for u in spoken.utterances], abs=1e-6
    )
    assert all(u.modalities["audio"].weight == 0 for u in given.utterances)
    assert [u.probabilities for u in given.utterances] != [
        u.probabilities for u in spoken.utterances
    ]


def test_windows_are_forgotten_when_sound_begins(
    predictor: Predictor, clips: Path, tmp_path: Path
) -> None:
    """Twelve silent seconds with a face are no utterance of a file in which somebody speaks."""
    late = tmp_path / "late.mp4"
    with_late_sound(clips / "many_utterances.mp4", late, quiet_s=12.0)
    result = predictor.predict(late)
    assert len(result.utterances) > 10
    assert all(u.start_s > 11.5 for u in result.utterances)
    # One short utterance (0.5 s) has too few pauses: its voice counts as drowned.
    assert sum(u.modalities["audio"].effective for u in result.utterances) > 10
    assert not any("face alone" in warning for warning in result.warnings)


def test_shares_are_faithful(predictor: Predictor, clips: Path, tmp_path: Path) -> None:
    """Damage the heavier modality in the file, and the decision moves more."""
    source = clips / "talk_angry_zh.mp4"
    intact = predictor.predict(source)
    table = tmp_path / "utterances.csv"
    lines = [f"{u.start_s!r},{u.end_s!r}" for u in intact.utterances]
    table.write_text("\n".join(["start_s,end_s", *lines]))
    options = PredictOptions(utterances=table)
    intact = predictor.predict(source, options=options)
    silent, dark = tmp_path / "silent.mp4", tmp_path / "dark.mp4"
    with_sound_of(source, silent, silence=True)
    in_the_dark(source, dark)
    without_audio = predictor.predict(silent, options=options).utterances
    without_face = predictor.predict(dark, options=options).utterances
    compared = 0
    for before, deaf, blind in zip(intact.utterances, without_audio, without_face, strict=True):
        assert deaf.modalities["audio"].weight == blind.modalities["face"].weight == 0
        by_audio, by_face = moved(before, deaf), moved(before, blind)
        audio, face = before.modalities["audio"].weight, before.modalities["face"].weight
        if abs(audio - face) > 0.05:
            compared += 1
            assert (audio > face) == (by_audio > by_face)
    assert compared >= 3


def moved(before: UtteranceResult, after: UtteranceResult) -> float:
    """Total variation between two decisions."""
    changes = [abs(p - after.probabilities[label]) for label, p in before.probabilities.items()]
    return sum(changes) / 2


def test_every_face_gets_a_record(predictor: Predictor, clips: Path) -> None:
    path = clips / "many_faces_stage.mp4"
    every = predictor.predict(path, options=PredictOptions(face=FaceChoice.all))
    largest = predictor.predict(path, options=PredictOptions(face=FaceChoice.largest))
    assert len(every.utterances) >= len(largest.utterances) == 1
    tracks = {u.track for u in every.utterances}
    assert len(tracks) == len(every.utterances)
    assert largest.utterances[0].track in tracks
    assert [u.index for u in every.utterances] == list(range(len(every.utterances)))


def test_given_utterances_keep_text_and_end_with_the_file(
    predictor: Predictor, tmp_path: Path
) -> None:
    table = tmp_path / "given.csv"
    table.write_text("start_s,end_s,text\n4.6,7.8,ten\n16.0,40.0,end\n50,60,beyond\n")
    result = predictor.predict(SAMPLE, options=PredictOptions(utterances=table))
    assert [u.text for u in result.utterances] == ["ten", "end"]
    assert result.utterances[1].end_s == pytest.approx(result.duration_s)
    assert any("1 given" in warning for warning in result.warnings)
    table.write_text("start_s,end_s\n0,9999\n")
    with pytest.raises(BoundariesError, match="split it"):
        predictor.predict(SAMPLE, options=PredictOptions(utterances=table))


def test_given_utterances_may_overlap(predictor: Predictor, tmp_path: Path) -> None:
    table = tmp_path / "given.csv"
    table.write_text("start_s,end_s\n0.5,12.0\n4.6,7.8\n4.6,6.0\n")
    result = predictor.predict(SAMPLE, options=PredictOptions(utterances=table))
    places = [(u.start_s, u.end_s) for u in result.utterances]
    assert places == [(0.5, 12.0), (4.6, 6.0), (4.6, 7.8)]


def test_speech_is_found_without_silero() -> None:
    extraction = Extraction(SAMPLE, FeatureConfig(), detector=EnergySpeechDetector())
    assert len(list(extraction)) >= 3
    assert any("silero" in warning for warning in extraction.warnings)


def test_analysis_rate(predictor: Predictor, sample: Result) -> None:
    denser = predictor.predict(SAMPLE, options=PredictOptions(analysis_rate_hz=25))
    assert denser.tracks[0].frames > 2 * sample.tracks[0].frames


def test_errors_of_the_interface(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"nothing\.mp4"):
        predictor.predict(tmp_path / "nothing.mp4")
    for device in ("gpu", "cuda:x", "cuda:", "cpu:1", ""):
        with pytest.raises(UsageError, match="device"):
            torch_device(device)
    assert torch_device("cpu") == torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def decider() -> Decider:
    return Decider(load_checkpoint(), torch_device("cpu"))


def concluded(decider: Decider, analysis: Analysis, model: ModelInfo) -> avsent.Result:
    return Predictor(decider, model).conclude(analysis)


def in_halves(
    decider: Decider, path: Path, options: PredictOptions | None = None
) -> tuple[Analysis, FileFacts]:
    encoded: list[EncodedUtterance] = []
    facts = extract_file(
        path, decider.features, lambda one: encoded.extend(decider.encode([one])), options
    )
    return assemble(decider, encoded, facts, options), facts


def test_extract_and_assemble_give_the_same_as_predict(decider: Decider) -> None:
    predictor = avsent.load(device="cpu")
    analysis, facts = in_halves(decider, SAMPLE)
    assert concluded(decider, analysis, predictor.model) == predictor.predict(SAMPLE)
    assert facts.source == str(SAMPLE)
    assert not facts.silent
    assert sorted(facts.neutrals) == [track.track for track in facts.tracks]
    assert all(face.shape == (51, 2) for face in facts.neutrals.values())


def test_given_utterances_that_overlap_or_lie_beyond(decider: Decider, tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("start_s,end_s\n0.5,9.0\n1.0,4.0\n15.0,20.0\n30.0,31.0\n")
    options = PredictOptions(utterances=given)
    predictor = avsent.load(device="cpu")
    analysis, facts = in_halves(decider, SAMPLE, options)
    result = concluded(decider, analysis, predictor.model)
    assert result == predictor.predict(SAMPLE, options=options)
    times = [(one.start_s, one.end_s) for one in result.utterances]
    assert times == [(0.5, 9.0), (1.0, 4.0), (15.0, facts.duration_s)]
    assert facts.warnings == ()
    assert result.warnings == ("1 given utterance beyond its end left out",)


def test_provisional_utterances_count_only_in_a_silent_file(decider: Decider) -> None:
    some: list[EncodedUtterance] = []
    facts = extract_file(SAMPLE, decider.features, lambda one: some.extend(decider.encode([one])))
    window = dataclasses.replace(some[1].features, provisional=True)
    some[1] = dataclasses.replace(some[1], features=window)
    assert len(assemble(decider, some, facts).utterances) == 3
    silent = dataclasses.replace(facts, silent=True)
    assert len(assemble(decider, some, silent).utterances) == 4
    windows = [
        dataclasses.replace(
            one, features=dataclasses.replace(one.features, provisional=True, speaks=number == 2)
        )
        for number, one in enumerate(some)
    ]
    assert len(assemble(decider, windows, facts).utterances) == 1
    assert len(assemble(decider, [*windows[1:], some[0]], facts).utterances) == 1


def test_a_bad_file_of_utterances(tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("start_s,end_s\n0.5,900.0\n")
    options = PredictOptions(utterances=given)
    with pytest.raises(BoundariesError, match="longer than 300 s; split it"):
        extract_file(SAMPLE, FeatureConfig(), print, options)


# --- between processes ---------------------------------------------------------------------------


def extract_elsewhere(path: Path, to: Connection) -> None:
    """What a worker does: sends the features of each utterance, then the facts."""
    to.send(extract_file(path, load_config("default").features, to.send))


def received(path: Path) -> tuple[list[UtteranceFeatures], FileFacts, int]:
    """All that a worker sends of one file, and how many bytes it takes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    worker = context.Process(target=extract_elsewhere, args=(path, there))
    worker.start()
    there.close()
    features: list[UtteranceFeatures] = []
    total = 0
    try:
        while True:
            sent = here.recv_bytes()
            total += len(sent)
            item = ForkingPickler.loads(sent)
            if isinstance(item, FileFacts):
                return features, item, total
            features.append(item)
    finally:
        here.close()
        worker.join()


def test_extracted_in_another_process(decider: Decider) -> None:
    features, facts, total = received(SAMPLE)
    predictor = avsent.load(device="cpu")
    encoded: Sequence[EncodedUtterance] = decider.encode(features)
    result = concluded(decider, assemble(decider, encoded, facts), predictor.model)
    assert result == predictor.predict(SAMPLE)
    assert total < 40_000 * facts.duration_s  # so that a pipe holds up nothing


FORKS = """
import multiprocessing, sys
import torch
import avsent
from avsent.options import Adapt, PredictOptions

def predict():
    options = PredictOptions(adapt=Adapt.corpus, analysis_rate_hz=2)
    return predictor.predict(sys.argv[1], options=options)

def forked():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        # As inherited, and as pickled.
        assert pool.apply(predictor.predict, (sys.argv[1],)).utterances
        return pool.apply(predict)

torch.set_num_threads(4)
predictor = avsent.load()
after_load = forked()
here = predict()
assert after_load == here == forked()
"""


def test_a_model_works_in_forked_processes() -> None:
    assert python(FORKS, SAMPLE).returncode == 0


def test_a_model_works_in_spawned_processes(predictor: Predictor, sample: Result) -> None:
    # The weights themselves: as open files, 450 for each call, they would soon be too many.
    assert len(ForkingPickler.dumps(predictor)) > 5_000_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(predictor.predict, (SAMPLE,)) == sample


def test_a_gpu_in_a_forked_process(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = pickle.loads(pickle.dumps(predictor))
    copy.decider._device = torch.device("cuda")
    monkeypatch.setattr("torch.cuda._is_in_bad_fork", lambda: True)
    for attempt in (lambda: copy.predict(SAMPLE), lambda: avsent.load(device="auto")):
        with pytest.raises(UsageError, match="a forked process cannot use the GPU"):
            attempt()
    assert torch_device("cpu").type == "cpu"
