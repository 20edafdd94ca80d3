"""The shipped models: members, posteriors on held-out people, fusion, card."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from small_models import (
    EXPERTS,
    FACE,
    HEARD,
    MOVING,
    PIXELS,
    SETTINGS,
    SPOKEN,
    STILL,
    VOICE,
    made_clips,
    made_stills,
    made_voices,
    pool_of,
    pools_of,
    row_of,
    some_experts,
    trained,
    with_statistics,
)
from torch import nn

from avsent.extraction.features.face import standardised
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.networks.config import PixelConfig, TargetConfig, VectorSizes
from avsent.model.networks.encoders import FaceExtras
from avsent.model.networks.experts import FaceMember, ProsodyMember, VoiceMember
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.whisper import WhisperEncoder
from avsent.training.data.corpus import Sample
from avsent.training.run import Trained
from recipes import default_models, fusion, posteriors
from recipes.card import (
    CARD_FILE,
    Report,
    adapted,
    adapted_scores,
    card_text,
    logits_of,
    modality_scores,
    scores_in_context,
    summed,
    write_card,
)
from recipes.default_models import Judged, assembled, merged, strangers_temperature
from recipes.fusion import (
    FACE_RIGHT,
    KINDS,
    MISTAKEN,
    MOST_UTTERANCES,
    SINGLE_VIDEOS,
    UNIFORM_VIDEOS,
    FusionTraining,
    Pool,
    VideoMaker,
    fuse,
    start_from_experts,
)
from recipes.members import (
    MemberTraining,
    Task,
    Workspace,
    balanced,
    face_members,
    loss,
    train_face_member,
)
from recipes.posteriors import Material, ensemble, of_clips, of_stills, of_voices, streams_of
from recipes.ravdess import NO_LABEL, emotions_of, polarities_of
from recipes.scores import scores
from recipes.voice_members import VoiceTraining
from recipes.voices import VoiceFeatures

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = MemberTraining(epochs=1, batch=8)


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[key]) for key, tensor in one.state_dict().items())


def recalls(votes: np.ndarray, truth: np.ndarray) -> list[float]:
    decided = votes.argmax(axis=1)
    return [float((decided[truth == label] == label).mean()) for label in np.unique(truth)]


# --- members -------------------------------------------------------------------------------------


def test_a_face_member_learns_from_frames_and_movement() -> None:
    plan = MemberTraining(epochs=30, batch=16, learning_rate=1e-2)
    clips, unmet = made_clips(64, 0), made_clips(24, 1)
    member = train_face_member(EXPERTS, clips, made_stills(clips), 0, plan)
    assert not member.training
    experts = dataclasses.replace(some_experts(0), face=(member,))
    votes = of_clips(EXPERTS, experts, unmet)
    stills = of_stills(EXPERTS, experts, made_stills(unmet))
    truth, known = emotions_of(unmet), polarities_of(unmet) != NO_LABEL
    for emotions, polarities in (
        (votes[:, :8], votes[:, 8:11]),  # still
        (votes[:, 11:19], votes[:, 19:22]),  # moving
        (stills[:, :8], stills[:, 8:11]),
    ):
        assert min(recalls(emotions, truth)) > 0.8
        assert min(recalls(polarities[known], polarities_of(unmet)[known])) > 0.8


def test_the_seed_decides_the_weights() -> None:
    clips = made_clips(16, 0)
    stills = made_stills(clips)
    looks = [train_face_member(EXPERTS, clips, stills, seed, SHORT) for seed in (3, 3, 4)]
    assert same(looks[0], looks[1])
    assert not same(looks[0], looks[2])


def test_clips_without_a_face_and_stills_in_which_none_was_found_do_not_teach() -> None:
    clips = made_clips(16, 0)
    blind = [dataclasses.replace(clip, face=None) for clip in made_clips(4, 5)]
    stills = made_stills(clips)
    found = stills.found.copy()
    found[3] = False
    lost = dataclasses.replace(stills, found=found)
    assert same(
        train_face_member(EXPERTS, clips, stills.only(found), 0, SHORT),
        train_face_member(EXPERTS, blind + clips, lost, 0, SHORT),
    )


def test_the_loss_by_hand() -> None:
    """Shares of the classes; all zeros are unknown."""
    plain = dataclasses.replace(SHORT, label_smoothing=0.0, polarity=0.5)
    logs = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 11))).float()
    emotion, polarity = torch.zeros(2, 8), torch.zeros(2, 3)
    emotion[0, 3], emotion[1, 7], emotion[1, 1], polarity[0, 2] = 1.0, 0.75, 0.25, 1.0
    first, second = -logs[0, 3], -(0.75 * logs[1, 7] + 0.25 * logs[1, 1])
    expected = (first + second) / 2 - 0.5 * logs[0, 8 + 2]
    assert float(loss(logs, emotion, polarity, plain)) == pytest.approx(float(expected), rel=1e-5)
    emotion[1] = 0
    expected = first - 0.5 * logs[0, 8 + 2]
    assert float(loss(logs, emotion, polarity, plain)) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss(logs, 0 * emotion, 0 * polarity, plain)) == 0


def test_every_class_is_drawn_as_often() -> None:
    labels = np.array([5] * 90 + [2] * 8 + [7] * 2)
    draw_samples = list(balanced(labels, 30, 100, np.random.default_rng(0)))
    assert [len(rows) for rows in draw_samples] == [100] * 30
    counts = np.bincount(labels[np.concatenate(draw_samples)], minlength=8)
    assert counts[[5, 2, 7]].min() > 900
    assert set(np.concatenate(draw_samples).tolist()) == set(range(100))


def test_the_file_of_a_member_depends_on_all_that_decides_it(tmp_path: Path) -> None:
    task = Task((1, 2, 3), 0, EXPERTS)
    sizes = dataclasses.replace(EXPERTS.still, representation=9)
    others = [
        dataclasses.replace(task, actors=(1, 2)),
        dataclasses.replace(task, seed=1),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, still=sizes)),
        dataclasses.replace(task, training=SHORT),
    ]
    assert len({one.file(tmp_path) for one in (task, *others)}) == 5
    pixels = dataclasses.replace(EXPERTS, pixels=PixelConfig(stem=9), audio_members=9)
    for alike in (
        dataclasses.replace(task, actors=(3, 1, 2)),
        dataclasses.replace(task, config=pixels),
    ):
        assert alike.file(tmp_path) == task.file(tmp_path)
    torch.manual_seed(0)
    member = FaceMember(EXPERTS)
    task.file(tmp_path).parent.mkdir()
    save_file(member.state_dict(), task.file(tmp_path))
    one, again = face_members([task, task], Workspace(tmp_path / "no data", tmp_path))
    assert same(one, member)
    assert same(again, member)


# --- posteriors ----------------------------------------------------------------------------------


def test_clips_without_face_or_neutral() -> None:
    clips, experts = made_clips(3, 0), some_experts(0)
    plain, face = of_clips(EXPERTS, experts, clips), clips[0].face
    assert face is not None
    clips[0] = dataclasses.replace(clips[0], face=dataclasses.replace(face, neutral=None))
    clips[1] = dataclasses.replace(clips[1], face=None)
    for rng in (None, np.random.default_rng(0)):
        found = of_clips(EXPERTS, experts, clips, rng)
        assert np.isnan(found[1]).all()
        assert np.isnan(found[0, MOVING]).all()
        assert np.isnan(found[[0, 2], PIXELS]).all()  # no pictures
        assert not np.isnan(found[2, :22]).any()
    found = of_clips(EXPERTS, experts, clips)
    np.testing.assert_array_equal(found[2], plain[2])
    np.testing.assert_array_equal(found[0, STILL], plain[0, STILL])
    augmented, noisy = (
        of_clips(EXPERTS, experts, clips, np.random.default_rng(0), noisy=noisy)
        for noisy in (False, True)
    )
    assert np.abs(augmented[2, STILL] - plain[2, STILL]).max() > 1e-3
    assert np.abs(noisy[2, STILL] - augmented[2, STILL]).max() > 1e-3
    stills = of_stills(EXPERTS, experts, made_stills(made_clips(5, 0)))
    assert (np.isnan(stills) == (np.arange(FACE) // 11 == 1)).all()  # no movement


def test_silent_voices_have_no_posteriors() -> None:
    _, features = made_voices(6, 0)
    found = of_voices(EXPERTS, some_experts(0), features, np.array([5, 0, 2]))
    assert np.isnan(found).all(axis=1).tolist() == [True, False, False]
    assert not np.isnan(found[1:]).any()


def test_an_ensemble_gives_the_mean() -> None:
    clips, (one, other) = made_clips(4, 0), (some_experts(0), some_experts(9))
    _, features = made_voices(5, 0)
    both = ensemble([one, other])
    found = of_clips(EXPERTS, both, clips)
    apart = [of_clips(EXPERTS, experts, clips) for experts in (one, other)]
    np.testing.assert_allclose(found, (apart[0] + apart[1]) / 2, atol=1e-5)
    rows = np.arange(4)
    found = of_voices(EXPERTS, both, features, rows)
    apart = [of_voices(EXPERTS, experts, features, rows) for experts in (one, other)]
    np.testing.assert_allclose(found, (apart[0] + apart[1]) / 2, atol=1e-5)


def test_members_do_not_learn_from_those_that_they_judge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither from their group of actors nor from the foreign corpus of their number; trained once,
    they are kept."""
    some = []
    for corpus in ("RAVDESS", "ASED", "EMOVO", "BAVED"):
        voices, features = made_voices(8, 0, corpus)
        some += voices
    some = [
        dataclasses.replace(v, speaker=f"actor {1 + row % 4}" if v.corpus == "RAVDESS" else "x")
        for row, v in enumerate(some)
    ]
    steps, spoken = np.tile(features.steps, (4, 1, 1)), np.tile(features.prosody, (4, 1))
    whole = VoiceFeatures(steps, np.tile(features.counts, 4), spoken)
    material = Material([], some, [whole])
    learnt: list[set[tuple[str, str]]] = []
    asked: list[Task] = []

    def watched(kind: type[nn.Module]) -> Callable[..., nn.Module]:
        def train(
            _: object, voices: list, versions: object, rows: NDArray, *__: object
        ) -> nn.Module:
            learnt.append({(voices[row].corpus, voices[row].speaker) for row in rows})
            return kind(EXPERTS)

        return train

    def members(tasks: list[Task], _: Workspace) -> list[str]:
        asked.extend(tasks)
        return ["face"] * len(tasks)

    monkeypatch.setattr(posteriors, "train_voice_member", watched(VoiceMember))
    monkeypatch.setattr(posteriors, "train_prosody_member", watched(ProsodyMember))
    monkeypatch.setattr(posteriors, "face_members", members)
    fit = functools.partial(
        posteriors.cross_fitted,
        EXPERTS,
        ((1, 3), (2, 4)),
        ("ASED", "EMOVO", "BAVED"),
        material,
        some_experts(0).pixels,
        Workspace(Path("none"), tmp_path),
    )
    found = fit(seed=7)
    first = {("RAVDESS", "actor 2"), ("RAVDESS", "actor 4"), ("EMOVO", "x"), ("BAVED", "x")}
    second = {("RAVDESS", "actor 1"), ("RAVDESS", "actor 3"), ("ASED", "x"), ("BAVED", "x")}
    assert learnt == [first, first, second, second]
    assert [(set(task.actors), task.seed) for task in asked] == [({2, 4}, 700), ({1, 3}, 701)]
    assert [one.face for one in found] == [("face",), ("face",)]
    again = fit(seed=7)
    assert len(learnt) == 4
    for one, other in zip(found, again, strict=True):
        assert same(one.voice[0], other.voice[0])
        assert same(one.prosody[0], other.prosody[0])
    fit(seed=8)
    fit(seed=7, training=VoiceTraining(decay=0.2))
    assert len(learnt) == 12


def test_the_temperature_is_that_of_strangers() -> None:
    """Corpora count as much whatever their sizes, all of them together as much as the faces. With
    logits (a, 0) a corpus that is right in a share p is best judged at a / log(p / (1 - p))."""

    def judged(right: int, wrong: int) -> Judged:
        truth = np.array([0] * right + [1] * wrong)
        return Judged(np.tile([2.0, 0.0], (len(truth), 1)), truth)

    for voices, faces, share in (
        ([judged(300, 100), judged(3, 1)], judged(30, 10), 0.75),
        ([judged(600, 400), judged(8, 2)], judged(9, 1), (0.7 + 0.9) / 2),
    ):
        wanted = 2.0 / np.log(share / (1 - share))
        assert strangers_temperature(voices, faces) == pytest.approx(wanted, rel=0.03)


def test_streams_and_the_columns_of_their_labels() -> None:
    polarity, emotion = streams_of(POLARITY_LABELS), streams_of(EMOTIONS)
    owns = [(one.modality, one.own) for one in polarity.values()]
    voice, face = (HEARD, SPOKEN), (STILL, MOVING, PIXELS)
    assert owns == [*(("audio", own) for own in voice), *(("face", own) for own in face)]
    own, again = (8, 9, 10), (19, 20, 21)
    assert [one.columns for one in polarity.values()] == [own, again, own, again, (30, 31, 32)]
    # Neutral, happiness, surprise, sadness, anger, disgust, fear; calm is like neutral.
    assert [column - 22 for column in emotion["pixels"].columns] == [0, 0, 1, 3, 4, 6, 5, 2]
    assert emotion["prosody"].columns == tuple(range(11, 19))


# --- made-up videos ------------------------------------------------------------------------------


def made(disagree: float, missing: float, count: int = 600, seed: int = 0) -> list[list[Sample]]:
    maker = VideoMaker(pools_of(4, 0, versions=3), disagree, missing)
    grouped: dict[str, list[Sample]] = {}
    for sample in maker.make(count, np.random.default_rng(seed), "train"):
        grouped.setdefault(sample.video, []).append(sample)
    return list(grouped.values())


def labels_in(sample: Sample) -> list[str]:
    """Those of its voice and of its face, by the rows of the pools; None where it has none."""
    pools = pools_of(4, 0)
    names = pools.clips.names
    found = []
    if sample.audio is not None:
        found.append(names[pools.clips.labels[row_of(sample.audio)]])
    if sample.face is not None:
        pool = pools.stills if np.isnan(sample.face[MOVING]).all() else pools.clips
        found.append(names[pool.labels[row_of(sample.face)]])
    return found


def kind_of(video: list[Sample]) -> str:
    return video[0].video.split()[1]


def test_kinds_lengths_and_labels_of_videos() -> None:
    videos = made(0.0, 0.0)
    kinds = [kind_of(video) for video in videos]
    for kind, share in KINDS.items():
        assert abs(np.mean([one == kind for one in kinds]) - share) < 0.07
    assert {len(video) for video in videos} == set(range(1, MOST_UTTERANCES + 1))
    assert abs(np.mean([len(video) == 1 for video in videos]) - SINGLE_VIDEOS) < 0.08
    long = [video for video in videos if len(video) >= 5]
    uniform = np.mean([len({one.labels["label"] for one in video}) == 1 for video in long])
    assert abs(uniform - UNIFORM_VIDEOS) < 0.1
    for kind, lacks in (("voices", "face"), ("faces", "audio")):
        own = [one for video in videos if kind_of(video) == kind for one in video]
        assert all(getattr(one, lacks) is None for one in own)
    some = [one for video in videos for one in video]
    assert len({one.key for one in some}) == len(some)
    for video in videos:
        for one in video if kind_of(video) != "voices" else ():
            assert set(labels_in(one)) == {one.labels["label"]}
    alone = [one for video in videos if kind_of(video) == "voices" for one in video]
    mistaken = np.mean([labels_in(one) != [one.labels["label"]] for one in alone])
    assert abs(mistaken - MISTAKEN) < 0.06
    for video in videos:
        if kind_of(video) == "ravdess":
            assert all(row_of(one.audio) == row_of(one.face) for one in video)  # type: ignore[arg-type]
    pictured = [not np.isnan(o.face[PIXELS]).any() for o in some if o.face is not None]
    assert 0.6 < np.mean(pictured) < 0.95  # grafted onto most clips
    versions = {round(float(one.audio[1])) for one in some if one.audio is not None}
    assert versions == {0, 1, 2}


@pytest.mark.parametrize("disagree", [0.3, 0.9])
def test_voice_and_face_disagree_in_some_pairs(disagree: float) -> None:
    told = []
    for video in made(disagree, 0.0):
        for one in video:
            labels = labels_in(one)
            if kind_of(video) == "pairs" and len(set(labels)) == 2:
                told.append(labels.index(one.labels["label"]))
            elif kind_of(video) == "pairs":
                told.append(-1)
                assert one.labels["label"] == labels[0]
            elif kind_of(video) != "voices":
                assert set(labels) == {one.labels["label"]}
    share = np.mean([place >= 0 for place in told])
    assert abs(share - disagree) < 0.08
    assert abs(np.mean([place for place in told if place >= 0]) - FACE_RIGHT) < 0.12


@pytest.mark.parametrize("missing", [0.2, 0.6, 1.0])
def test_both_modalities_are_never_lost(missing: float) -> None:
    videos = [video for video in made(0.2, missing) if kind_of(video) in ("ravdess", "pairs")]
    for lost in ("audio", "face"):
        gone = [[getattr(one, lost) is None for one in video] for video in videos]
        long = [video for video in gone if len(video) >= 4]
        assert np.mean([all(video) for video in long]) > missing / 4  # throughout a video
        here_and_there = any(any(video) and not all(video) for video in long)
        assert here_and_there or missing == 1
    assert all(o.audio is not None or o.face is not None for video in videos for o in video)


def test_the_seed_decides_the_videos() -> None:
    def content(videos: list[list[Sample]]) -> list[str]:
        some = [one for video in videos for one in video]
        return [f"{one.key} {one.labels} {one.audio} {one.face}" for one in some]

    first = content(made(0.2, 0.2, 40))
    assert first == content(made(0.2, 0.2, 40))
    assert first != content(made(0.2, 0.2, 40, seed=1))


def test_parts_share_no_clip_and_no_person_of_a_corpus() -> None:
    pools = pools_of(6, 0)
    parts = pools.split(("actor 1", "actor 4"), 0.4, 0)
    assert set(parts["valid"].clips.speakers) == {"actor 1", "actor 4"}
    assert set(parts["train"].clips.speakers) == {f"actor {k}" for k in (0, 2, 3, 5)}
    for name in ("voices", "stills"):
        people = [set(getattr(part, name).speakers) for part in parts.values()]
        assert not people[0] & people[1]
        assert [len(some) for some in people] == ([4, 2] if name == "voices" else [3, 2])
    sizes = {name: len(parts[name].clips) for name in parts}
    assert sizes["train"] + sizes["valid"] == len(pools.clips)
    left = pools.without("RAVDESS")
    assert (len(left.voices), len(left.clips)) == (0, len(pools.clips))
    noisy = pools.clips.with_noise()
    np.testing.assert_array_equal(noisy.audio[0], pools.clips.noisy["audio"])


def test_pools_are_merged() -> None:
    one, other = pool_of(2, 0, versions=3), pool_of(1, 1, corpus="B", versions=2)
    found = merged([one, other])
    assert len(found) == len(one) + len(other)
    assert (len(found.audio), len(found.face)) == (2, 2)
    np.testing.assert_array_equal(found.only(found.corpora == "B").audio[1], other.audio[1])
    np.testing.assert_array_equal(found.noisy["face"][: len(one)], one.noisy["face"])


# --- the start -----------------------------------------------------------------------------------


@torch.no_grad()
def test_the_fusion_starts_as_the_weighted_sum_of_the_experts() -> None:
    """Whatever the other utterances of a video are."""
    pools = pools_of(4, 3)
    samples = VideoMaker(pools, 0.9, 0.2).make(150, np.random.default_rng(0), "train")
    train = fusion._videos(samples, pools.clips)
    torch.manual_seed(0)
    sizes = VectorSizes(audio=VOICE, face=FACE)
    model = TargetModel(TargetConfig(vectors=sizes, context=FusionTraining().context)).eval()
    for modality in ("audio", "face"):
        model.scale(modality).fit(train.vectors[modality][train.present[modality]])
    sums = {m: fusion._logit_map(model, m) for m in ("audio", "face")}
    weights, biases = fusion._stream_weights(model, train, sums)
    start_from_experts(model, train)
    values = {m: model.encoder(m)(train.vectors[m]) for m in ("audio", "face")}
    expected = torch.zeros(*train.labels.shape, 3)
    streams = streams_of(POLARITY_LABELS)
    for m in ("audio", "face"):
        # Log probabilities from their mean, clipped: those of a missing stream are 0.
        logs = values[m] * model.scale(m).deviation.nan_to_num(posinf=0.0)
        own = [one for one in streams.values() if one.modality == m]
        voted = sum(w * logs[..., s.columns] for w, s in zip(weights[m], own, strict=True))
        expected += train.present[m][..., None] * (voted + biases[m])
    lengths = train.lengths
    inside = torch.arange(train.labels.shape[1])[None] < lengths[:, None]
    found = model(Utterances(values, train.present, lengths)).logits
    assert expected[inside].std() > 0.3
    apart = (found - expected)[inside].abs()
    # tanh and the nearly shut gates take a little of large ones.
    assert float(apart.max()) < 0.02 * float(expected[inside].abs().max())
    # Alone each is judged as in its video.
    first = {m: values[m][:, :1] for m in values}, {m: train.present[m][:, :1] for m in values}
    alone = model(Utterances(*first, torch.ones_like(lengths))).logits[:, 0]
    torch.testing.assert_close(alone, found[:, 0], atol=0.01, rtol=0)


# --- it learns -----------------------------------------------------------------------------------


def test_the_fusion_learns() -> None:
    found = trained()
    judged = modality_scores(found.model, pool_of(3, 7), found.calibration.temperature)
    for one in (judged.both, judged.audio, judged.face):
        assert one.count == 3 * 3 * 6
        assert one.balanced_accuracy > 0.85
    assert 0 <= judged.calibration_error < 0.3
    stills = modality_scores(found.model, pool_of(1, 8, lacks="audio", each=20), 1.0)
    assert stills.both.balanced_accuracy > 0.85
    assert found.progress.best_value > -0.7


def test_the_seed_decides_the_fusion() -> None:
    parts = pools_of(4, 0).split(("actor 3",), 0.4, 0)
    few = dataclasses.replace(
        SETTINGS,
        videos=30,
        validation_videos=20,
        check=False,
        optimiser=dataclasses.replace(SETTINGS.optimiser, epochs=1),
    )
    one, again, other = (fuse(parts, few, seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@torch.inference_mode()
def logits_alone(
    model: TargetModel, audio: torch.Tensor | None, face: torch.Tensor | None
) -> NDArray[np.float64]:
    """Logits [C] of one utterance."""
    values = {
        "audio": torch.zeros(1, 1, VOICE) if audio is None else audio[None],
        "face": torch.zeros(1, 1, FACE) if face is None else face[None],
    }
    present = {
        "audio": torch.tensor([[audio is not None]]),
        "face": torch.tensor([[face is not None]]),
    }
    logits: NDArray[np.float64] = (
        model(Utterances(values, present, torch.tensor([1]))).logits[0, 0].double().numpy()
    )
    return logits


@torch.inference_mode()
def test_the_shipped_model_gives_the_logits_of_the_fusion(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    whisper = with_statistics(WhisperEncoder(EXPERTS.whisper))
    monkeypatch.setattr(default_models, "whisper_encoder", lambda config: whisper)
    experts, fused = some_experts(3, members=3), trained().model
    clips = made_clips(5, 2)
    clips[1] = dataclasses.replace(clips[1], face=None)
    clips[2] = dataclasses.replace(clips[2], prosody=None)
    face_of = clips[3].face
    assert face_of is not None
    clips[3] = dataclasses.replace(clips[3], face=dataclasses.replace(face_of, neutral=None))
    model = assembled(EXPERTS, experts, fused)
    assert not model.training
    assert model.config.experts == dataclasses.replace(EXPERTS, audio_members=3, face_members=3)
    powers = [torch.from_numpy(clip.mel_power) for clip in clips if clip.mel_power is not None]
    spoken = np.stack(
        [np.full(24, np.nan, np.float32) if c.prosody is None else c.prosody for c in clips]
    )
    steps = [whisper(power).numpy() for power in powers]
    heard = VoiceFeatures(np.concatenate(steps), np.array([len(one) for one in steps]), spoken)
    audio = of_voices(EXPERTS, experts, heard, np.arange(5))
    pool = pool_of(1, 0).only(np.arange(5))
    pool = dataclasses.replace(pool, audio=(audio,), face=(of_clips(EXPERTS, experts, clips),))
    expected = logits_of(fused, pool)
    assert np.ptp(expected, axis=0).max() > 0.1
    for row, (clip, logits) in enumerate(zip(clips, expected, strict=True)):
        face = None
        prosody = torch.from_numpy(spoken[row : row + 1])
        voice, _ = model.encoder("audio")(powers[row : row + 1], prosody)
        if clip.face is not None:
            shown = torch.from_numpy(clip.face.landmarks)[None]
            neutral = clip.face.neutral
            extras = FaceExtras(None if neutral is None else torch.from_numpy(neutral)[None])
            face, _ = model.encoder("face")(shown, torch.ones(1, shown.shape[1]).bool(), extras)
        np.testing.assert_allclose(logits_alone(model, voice, face), logits, atol=1e-3)
    stills = made_stills(made_clips(5, 3))
    pool = dataclasses.replace(pool, audio=(), face=(of_stills(EXPERTS, experts, stills),))
    for row, logits in enumerate(logits_of(fused, pool)):
        looks = model.classify_pixels(torch.from_numpy(standardised(stills.aligned[row : row + 1])))
        assert looks is not None
        face, _ = model.encoder("face")(
            torch.from_numpy(stills.landmarks[row])[None, None],
            torch.ones(1, 1, dtype=torch.bool),
            FaceExtras(pixels=looks[:, None]),
        )
        np.testing.assert_allclose(logits_alone(model, None, face), logits, atol=1e-3)


# --- the card ------------------------------------------------------------------------------------


def report(*values: float) -> Report:
    """Of seeds with these values on validation."""
    one = trained()
    seeds = tuple(
        dataclasses.replace(
            one, progress=dataclasses.replace(one.progress, best_value=value), seed=seed
        )
        for seed, value in enumerate(values)
    )
    stills = pool_of(1, 3, lacks="audio", each=20)
    pictures = scores(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0]), 3)
    tests = {"clips": pool_of(4, 7), "ferplus": stills, "strangers": stills}
    return Report("default", POLARITY_LABELS, seeds, tests, pictures)


def test_validation_chooses_the_seed() -> None:
    best: Trained = report(-0.5, -0.4, -0.6).best
    assert best.seed == 1


def test_every_part_of_the_card_is_filled(tmp_path: Path) -> None:
    found = report(-0.5, -0.4)
    write_card(tmp_path, found, found.best.model)
    text = (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    assert text == card_text(found, found.best.model)
    assert [path.name for path in tmp_path.iterdir()] == [CARD_FILE]
    titles = ("majority class", "voice and face", "face alone", "voice alone", "women", "men")
    for title in (*titles, "FER+ test part", "strangers, new persons"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        assert re.search(r"\d", line)
    assert "all 5 pictures of FER+'s test part: accuracy 0.600" in text
    for title in ("test clips", "strangers"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        assert re.fullmatch(r"\| [^|]+ \| [01]\.\d\d \|( ([01]\.\d\d|–) \|){2}", line)
    assert "not for commercial use" in text.lower()
    assert not re.search(r"[{}]|\bnan\b|\binf\b|None\b(?!:)", text)
    for lines in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in lines.splitlines()}) == 1, lines


def test_videos_of_rows() -> None:
    model, pool = trained().model, pool_of(2, 5)
    alone = logits_of(model, pool)
    assert alone.shape == (len(pool), 3)
    videos = [np.array([3, 1, 4]), np.array([5])]
    found = logits_of(model, pool, videos)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found[3], alone[5], atol=1e-5)  # padding changes nothing
    np.testing.assert_allclose(found[:3], logits_of(model, pool, videos[:1]), atol=1e-5)
    assert np.abs(found[:3] - alone[[3, 1, 4]]).max() > 1e-4  # the context does
    without = logits_of(model, pool, without="audio")
    np.testing.assert_allclose(logits_of(model, dataclasses.replace(pool, audio=())), without)


def test_scores_in_the_context_of_the_same_speaker() -> None:
    pool, model = pool_of(3, 6), trained().model
    found = scores_in_context(model, pool, seed=0)
    assert list(found) == ["alone", "among their like", "among others"]
    assert {one.count for one in found.values()} == {3 * 3 * 6}
    assert found["alone"] == modality_scores(model, pool, 1.0).both
    assert found["among their like"].balanced_accuracy > 0.85
    assert scores_in_context(model, pool, seed=0) == found


def test_adapted_by_hand() -> None:
    values = torch.tensor([[[1.0], [4.0], [7.0], [100.0]], [[7.0], [9.0], [0.0], [0.0]]])
    present = torch.tensor([[True, True, True, False], [True, True, False, False]])
    # Three are there, mean 4; with a prior of 1 three quarters of it are taken away.
    found = adapted(values, present, 1.0)[present]
    assert found[:, 0].tolist() == pytest.approx([-2.0, 1.0, 4.0, 7.0, 9.0])  # two are too few
    assert adapted(values, present, 0.0)[0, :3, 0].tolist() == pytest.approx([-3.0, 0.0, 3.0])


def test_adaptation_removes_a_label_that_never_changes() -> None:
    model, pool = trained().model, pool_of(3, 6)
    plain = adapted_scores(model, pool, 5, None, seed=0, alike=True)
    assert adapted_scores(model, pool, 5, 1e9, seed=0, alike=True) == plain  # a strong prior
    moved = adapted_scores(model, pool, 5, 0.0, seed=0, alike=True)
    assert plain.count == moved.count == 3 * 20 * 5
    assert plain.balanced_accuracy > moved.balanced_accuracy + 0.2
    # Six of each label: more than there are cannot be drawn.
    assert adapted_scores(model, pool, 9, None, seed=0, alike=True).count == 3 * 20 * 6


def test_sums_by_hand() -> None:
    """What is not known adds nothing; an utterance without label does not count."""
    audio = np.full((4, VOICE), -1.0, dtype=np.float32)
    face = np.full((4, FACE), np.nan, dtype=np.float32)
    audio[0, 8], audio[1, 19] = -0.1, -0.5  # negative by Whisper, by prosody
    audio[2] = np.nan
    face[1, 29 + 3], face[2, 9] = 0.9, 1.0  # positive by pixels, neutral by the still face
    names = np.array(["x"] * 4)
    pool = Pool(POLARITY_LABELS, np.array([0, 2, 1, -1]), names, names, (audio,), (face,))
    labels = pool.labels[:3]
    assert summed(pool) == scores(labels, np.array([0, 2, 1]), 3)
    assert summed(pool, ("audio",)) == scores(labels, np.array([0, 0, 0]), 3)
    assert summed(pool, ("face",)) == scores(labels, np.array([0, 2, 1]), 3)
