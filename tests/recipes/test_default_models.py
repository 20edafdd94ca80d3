"""The shipped models: members, out-of-fold posteriors, fusion, card."""

from __future__ import annotations

import dataclasses
import itertools
import re
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
    SETTINGS,
    SPOKEN,
    STILL,
    VOICE,
    made_clips,
    made_stills,
    pool_of,
    row_of,
    some_experts,
    trained,
)
from torch import nn

from avsent.extraction.features.face import standardised
from avsent.extraction.features.voice import FLOOR_DB, normalised_log
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.networks.config import PixelConfig, VoteConfig
from avsent.model.networks.encoders import FaceExtras
from avsent.model.networks.experts import AudioMember, FaceMember
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.data.corpus import Sample
from avsent.training.run import Trained
from recipes import fusion
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
from recipes.corpora import NO_LABEL, emotions_of, of_actors, polarities_of
from recipes.fusion import (
    MOST_UTTERANCES,
    SINGLE_VIDEOS,
    UNIFORM_VIDEOS,
    HeldOut,
    LabelledPosteriors,
    Pool,
    Posteriors,
    assembled,
    by_speaker,
    cross_fitted,
    ensemble,
    fuse,
    out_of_fold_posteriors,
    posteriors_of_clips,
    posteriors_of_stills,
    split_pool,
    synthetic_videos,
)
from recipes.members import (
    MemberTraining,
    Task,
    Workspace,
    balanced,
    loss,
    members,
    prosody_versions,
    train_audio_member,
    train_face_member,
    train_prosody_member,
)
from recipes.ravdess import RavdessClip
from recipes.scores import scores

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = MemberTraining(epochs=1, batch=8)


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[key]) for key, tensor in one.state_dict().items())


def recalls(votes: np.ndarray, truth: np.ndarray) -> list[float]:
    decided = votes.argmax(axis=1)
    return [float((decided[truth == label] == label).mean()) for label in np.unique(truth)]


def silenced(clip: RavdessClip) -> RavdessClip:
    """The clip without any sound."""
    speech = np.zeros(6400, dtype=np.int16)
    return dataclasses.replace(clip, mel_power=None, prosody=None, speech=speech)


# --- members -------------------------------------------------------------------------------------


def test_an_audio_member_learns() -> None:
    plan = MemberTraining(epochs=30, batch=16, learning_rate=1e-2)
    member = train_audio_member(EXPERTS, made_clips(64, 0), 0, plan)
    assert not member.training
    unmet = made_clips(24, 1)
    experts = dataclasses.replace(some_experts(0), audio=(member,))
    votes = posteriors_of_clips(EXPERTS, experts, unmet).audio
    assert min(recalls(votes[:, :8], emotions_of(unmet))) > 0.8
    known = polarities_of(unmet) != NO_LABEL
    assert min(recalls(votes[known, 8:11], polarities_of(unmet)[known])) > 0.8


def test_a_face_member_learns_from_frames_and_movement() -> None:
    plan = MemberTraining(epochs=30, batch=16, learning_rate=1e-2)
    clips, unmet = made_clips(64, 0), made_clips(24, 1)
    member = train_face_member(EXPERTS, clips, made_stills(clips), 0, plan)
    assert not member.training
    experts = dataclasses.replace(some_experts(0), face=(member,))
    votes = posteriors_of_clips(EXPERTS, experts, unmet).face
    stills = posteriors_of_stills(EXPERTS, experts, made_stills(unmet)).face
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
    first, again, other = (train_audio_member(EXPERTS, clips, seed, SHORT) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)
    looks = [train_face_member(EXPERTS, clips, stills, seed, SHORT) for seed in (3, 3, 4)]
    assert same(looks[0], looks[1])
    assert not same(looks[0], looks[2])


def test_clips_without_the_modality_do_not_teach() -> None:
    clips = made_clips(16, 0)
    deaf = [silenced(clip) for clip in made_clips(4, 5)]
    blind = [dataclasses.replace(clip, face=None) for clip in made_clips(4, 5)]
    assert same(
        train_audio_member(EXPERTS, clips, 0, SHORT),
        train_audio_member(EXPERTS, deaf + clips, 0, SHORT),
    )
    stills = made_stills(clips)
    assert same(
        train_face_member(EXPERTS, clips, stills, 0, SHORT),
        train_face_member(EXPERTS, blind + clips, stills, 0, SHORT),
    )


def test_the_loss_ignores_missing_polarities() -> None:
    plain = dataclasses.replace(SHORT, label_smoothing=0.0, polarity=0.5)
    votes = torch.full((2, 11), -2.0)
    votes[0, 3], votes[1, 7], votes[0, 8], votes[1, 9] = 4.0, 1.0, 3.0, 9.0

    def minus_log(values: list[float], place: int) -> float:
        return float(np.log(np.exp(values).sum()) - values[place])

    emotion = (minus_log(votes[0, :8].tolist(), 3) + minus_log(votes[1, :8].tolist(), 7)) / 2
    found = loss(votes, np.array([3, 7]), np.array([0, NO_LABEL]), plain)
    expected = emotion + 0.5 * minus_log(votes[0, 8:].tolist(), 0)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    found = loss(votes, np.array([3, 7]), np.array([NO_LABEL, NO_LABEL]), plain)
    assert float(found) == pytest.approx(emotion, rel=1e-5)


def test_every_class_is_drawn_as_often() -> None:
    labels = np.array([5] * 90 + [2] * 8 + [7] * 2)
    draw_samples = list(balanced(labels, 30, 100, np.random.default_rng(0)))
    assert [len(rows) for rows in draw_samples] == [100] * 30
    counts = np.bincount(labels[np.concatenate(draw_samples)], minlength=8)
    assert counts[[5, 2, 7]].min() > 900
    assert set(np.concatenate(draw_samples).tolist()) == set(range(100))


# --- held-out people ------------------------------------------------------------------------------


def test_posteriors_are_out_of_fold() -> None:
    clips = made_clips(16, 0, actors=4)
    experts, groups = [some_experts(0), some_experts(9)], ((1, 3), (2, 4))
    known = out_of_fold_posteriors(EXPERTS, experts, groups, clips, seed=0, copies=2)
    order = of_actors(clips, (1, 3)) + of_actors(clips, (2, 4))
    assert known.speakers == tuple(f"actor {clip.actor}" for clip in order)
    assert [EXPERTS.emotions, *known.emotion] == [8, *(EMOTIONS.index(c.emotion) for c in order)]
    assert known.polarity.tolist() == [-1 if c.polarity is None else c.polarity for c in order]
    plain, *copies = known.versions
    for rows, expert in ((slice(0, 8), experts[0]), (slice(8, 16), experts[1])):
        expected = posteriors_of_clips(EXPERTS, expert, order[rows])
        np.testing.assert_array_equal(plain.audio[rows], expected.audio)
        np.testing.assert_array_equal(plain.face[rows], expected.face)
    other = posteriors_of_clips(EXPERTS, experts[1], order[:8]).audio
    assert len(copies) == 2
    for stream in (HEARD, SPOKEN):
        assert np.abs(other[:, stream] - plain.audio[:8, stream]).max() > 0.1
        versions = [version.audio[:, stream] for version in known.versions]
        for one, again in itertools.combinations(versions, 2):
            assert not np.isclose(one, again).all(axis=1).any()


def test_clips_without_voice_or_face() -> None:
    clips = made_clips(3, 0)
    clips[0] = silenced(clips[0])
    clips[1] = dataclasses.replace(clips[1], face=None)
    for rng in (None, np.random.default_rng(0)):
        found = posteriors_of_clips(EXPERTS, some_experts(0), clips, rng)
        assert np.isnan(found.audio).all(axis=1).tolist() == [True, False, False]
        assert not np.isnan(found.audio[1:]).any()
        assert np.isnan(found.face).all(axis=1).tolist() == [False, True, False]
        assert np.isnan(found.face[2]).nonzero()[0].tolist() == list(range(22, 32))  # no pictures
    stills = posteriors_of_stills(EXPERTS, some_experts(0), made_stills(made_clips(5, 0)))
    assert np.isnan(stills.audio).all()
    assert (np.isnan(stills.face) == (np.arange(32) // 11 == 1)).all()  # no movement


def test_of_whom_only_something_is_known() -> None:
    clips, experts = made_clips(2, 0), some_experts(0)
    plain, face = posteriors_of_clips(EXPERTS, experts, clips), clips[0].face
    assert face is not None
    clips[0] = dataclasses.replace(clips[0], face=dataclasses.replace(face, neutral=None))
    clips[1] = dataclasses.replace(clips[1], prosody=None)
    found = posteriors_of_clips(EXPERTS, experts, clips)
    np.testing.assert_array_equal(found.face[0, STILL], plain.face[0, STILL])
    assert np.isnan(found.face[0, MOVING]).all()
    assert not np.isnan(plain.face[0, MOVING]).any()
    np.testing.assert_array_equal(found.face[1], plain.face[1])
    np.testing.assert_array_equal(found.audio[1, HEARD], plain.audio[1, HEARD])
    assert np.isnan(found.audio[1, SPOKEN]).all()
    np.testing.assert_array_equal(found.audio[0], plain.audio[0])
    # Of another camera, too; its microphone hears all of the sound.
    changed = posteriors_of_clips(EXPERTS, experts, clips, np.random.default_rng(3))
    assert np.isnan(changed.face[0, MOVING]).all()
    assert np.abs(changed.face[0, STILL] - plain.face[0, STILL]).max() > 1e-4
    assert not np.isnan(changed.audio).any()


def test_without_its_sound_a_clip_is_heard_as_it_is() -> None:
    clips = [dataclasses.replace(clip, speech=None) for clip in made_clips(2, 0)]
    found = posteriors_of_clips(EXPERTS, some_experts(0), clips, np.random.default_rng(0))
    np.testing.assert_array_equal(
        found.audio, posteriors_of_clips(EXPERTS, some_experts(0), clips).audio
    )


def test_an_ensemble_gives_the_mean() -> None:
    clips, (one, other) = made_clips(4, 0), (some_experts(0), some_experts(9))
    found = posteriors_of_clips(EXPERTS, ensemble([one, other]), clips)
    apart = [posteriors_of_clips(EXPERTS, experts, clips) for experts in (one, other)]
    np.testing.assert_allclose(found.audio, (apart[0].audio + apart[1].audio) / 2, atol=1e-5)
    np.testing.assert_allclose(found.face, (apart[0].face + apart[1].face) / 2, atol=1e-5)


# --- the workshop --------------------------------------------------------------------------------


def test_the_file_of_a_member_depends_on_all_that_decides_it(tmp_path: Path) -> None:
    task = Task("audio", (1, 2, 3), 0, EXPERTS)
    sizes = dataclasses.replace(EXPERTS.audio, representation=9)
    others = [
        dataclasses.replace(task, kind="face"),
        dataclasses.replace(task, actors=(1, 2)),
        dataclasses.replace(task, seed=1),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, audio=sizes)),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, emotions=7)),
        dataclasses.replace(task, audio=SHORT),
    ]
    assert len({one.file(tmp_path) for one in (task, *others)}) == 7
    counts = dataclasses.replace(EXPERTS, audio_members=9, face_members=8)
    pixels = dataclasses.replace(EXPERTS, pixels=PixelConfig(), pixel_polarity=(0,) * 7)
    for alike in (
        dataclasses.replace(task, actors=(3, 1, 2)),
        dataclasses.replace(task, config=counts),
        dataclasses.replace(task, config=pixels),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, prosody=7)),
        dataclasses.replace(task, face=SHORT),
    ):
        assert alike.file(tmp_path) == task.file(tmp_path)
    assert task.file(tmp_path).is_relative_to(tmp_path)


def test_members_are_trained_once_and_used_for_their_own_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = made_clips(20, 0, actors=5)
    monkeypatch.setattr(fusion, "load_clips", lambda data, cache: clips)
    groups, workspace = ((1, 2), (3,), (4,)), Workspace(tmp_path / "no data", tmp_path)
    kept = {}
    for number, teachers in enumerate(((3, 4), (1, 2, 4), (1, 2, 3))):
        for kind, made in (("audio", AudioMember), ("face", FaceMember)):
            torch.manual_seed(len(kept))
            kept[kind, number] = made(EXPERTS)
            file = Task(kind, teachers, 100 * 7 + number, EXPERTS).file(tmp_path)
            file.parent.mkdir(exist_ok=True)
            save_file(kept[kind, number].state_dict(), file)
    pixels = some_experts(0).pixels
    found = cross_fitted(EXPERTS, groups, pixels, 7, workspace)
    for number, experts in enumerate(found):
        assert experts.pixels is pixels
        for kind, (member,) in (("audio", experts.audio), ("face", experts.face)):
            assert same(member, kept[kind, number])
            assert not member.training
        # The prosody is judged by who met the same people; nobody met actor 5.
        met = of_actors(clips, ((3, 4), (1, 2, 4), (1, 2, 3))[number])
        (modality_scores,) = experts.prosody
        assert same(modality_scores, train_prosody_member(EXPERTS, met, prosody_versions(met)))
        assert not modality_scores.training
    assert len(list(tmp_path.glob("prosody-*.npz"))) == 1
    task = Task("face", (3, 4), 700, EXPERTS)
    one, again = members([task, task], workspace)
    assert same(one, again)


def known(pool: Pool) -> LabelledPosteriors:
    """With an emotion for each polarity."""
    emotion = np.array([EMOTIONS.index(name) for name in ("surprised", "sad", "neutral", "happy")])
    return LabelledPosteriors(pool.versions, emotion[pool.labels + 1], pool.labels, pool.speakers)


def held_out() -> HeldOut:
    stills = known(pool_of(1, 3, stills=True, each=20))
    pictures = scores(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0]), 3)
    return HeldOut(known(pool_of(8, 0)), stills, known(pool_of(4, 7)), stills, pictures)


def scored(value: float, seed: int) -> Trained:
    one = trained()
    progress = dataclasses.replace(one.progress, best_value=value)
    return dataclasses.replace(one, progress=progress, seed=seed)


def report(plain: tuple[float, ...], text: tuple[float, ...]) -> Report:
    found = {
        kind: [scored(value, seed) for seed, value in enumerate(values)]
        for kind, values in (("none", plain), ("text", text))
    }
    return Report.of("default", POLARITY_LABELS, found, held_out())


@pytest.mark.parametrize(
    ("plain", "text", "kind", "seed"),
    [
        ((-0.5, -0.4, -0.6), (-0.45, -0.35, -0.6), "text", 1),
        ((-0.5, -0.4, -0.6), (-0.1, -0.9, -0.9), "none", 1),  # one lucky seed is not enough
        ((-0.3, -0.4, -0.6), (-0.5, -0.5, -0.5), "none", 0),
    ],
)
def test_validation_chooses(
    plain: tuple[float, ...], text: tuple[float, ...], kind: str, seed: int
) -> None:
    found = report(plain, text)
    assert (found.kind, found.best.seed) == (kind, seed)
    assert found.best in found.trained[kind]


def test_every_part_of_the_card_is_filled(tmp_path: Path) -> None:
    found = report((-0.5, -0.4), (-0.6, -0.7))
    write_card(tmp_path, found, found.best.model)
    text = (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    assert text == card_text(found, found.best.model)
    assert [path.name for path in tmp_path.iterdir()] == [CARD_FILE]
    for title in ("majority class", "voice and face", "face alone", "voice alone", "women", "men"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        assert re.search(r"\d", line)
    assert "The taught one does not ship" in text
    assert re.search(
        r"^\| no transfer \| 0\.4500 ± 0\.0500 \| [01]\.\d{3} ± 0\.\d{3} \|$", text, re.M
    )
    assert "all 5 images of that part: accuracy 0.600, balanced 0.667" in text
    for title in ("test clips", "FER2013 stills"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        assert re.fullmatch(r"\| [^|]+ \| [01]\.\d\d \|( ([01]\.\d\d|–) \|){2}", line)
    assert "not for commercial use" in text
    assert not re.search(r"[{}]|\bnan\b|\binf\b|None", text)
    for lines in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in lines.splitlines()}) == 1, lines


# --- made-up videos ------------------------------------------------------------------------------


def videos_of(samples: list[Sample]) -> list[list[Sample]]:
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.video, []).append(sample)
    return list(grouped.values())


def test_videos_hold_one_speaker_and_true_labels() -> None:
    pool = pool_of(4, 0, versions=3)
    samples = synthetic_videos(pool, 400, np.random.default_rng(0), "valid", "clips", 0.4)
    videos = videos_of(samples)
    assert len(videos) == 400
    assert {len(video) for video in videos} == set(range(1, MOST_UTTERANCES + 1))
    assert len({sample.key for sample in samples}) == len(samples)
    assert {sample.split for sample in samples} == {"valid"}
    seen_versions = set()
    for video in videos:
        assert len({sample.speaker for sample in video}) == 1
    for sample in samples:
        vectors = [vector for vector in (sample.audio, sample.face) if vector is not None]
        (row,) = {row_of(vector) for vector in vectors}
        assert sample.labels == {"label": pool.names[pool.labels[row]]}
        assert sample.speaker == f"valid {pool.speakers[row]}"
        if sample.audio is not None:
            version = round(float(sample.audio[1]))
            np.testing.assert_array_equal(sample.audio, pool.versions[version].audio[row])
            seen_versions.add(version)
        if sample.face is not None:
            version = round(float(sample.face[1]))
            np.testing.assert_array_equal(sample.face, pool.versions[version].face[row])
    assert seen_versions == {0, 1, 2}
    counts = [sum(s.labels["label"] == name for s in samples) for name in pool.names]
    assert min(counts) > 0.25 * len(samples)


def test_some_videos_are_of_one_label_and_some_are_mixed() -> None:
    samples = synthetic_videos(pool_of(4, 0), 600, np.random.default_rng(0), "train", "clips", 0.0)
    long = [video for video in videos_of(samples) if len(video) >= 5]
    uniform = np.mean([len({sample.labels["label"] for sample in video}) == 1 for video in long])
    assert abs(uniform - UNIFORM_VIDEOS) < 0.08
    single = np.mean([len(video) == 1 for video in videos_of(samples)])
    assert abs(single - SINGLE_VIDEOS) < 0.08
    assert all(sample.audio is not None and sample.face is not None for sample in samples)


@pytest.mark.parametrize("missing", [0.2, 0.6, 1.0])
def test_both_modalities_are_never_lost(missing: float) -> None:
    pool = pool_of(3, 1)
    samples = synthetic_videos(pool, 500, np.random.default_rng(1), "train", "clips", missing)
    assert all(sample.audio is not None or sample.face is not None for sample in samples)
    for lost in ("audio", "face"):
        gone = [[getattr(sample, lost) is None for sample in v] for v in videos_of(samples)]
        long = [video for video in gone if len(video) >= 4]
        assert np.mean([all(video) for video in long]) > missing / 4  # throughout a video
        assert (
            any(any(video) and not all(video) for video in long) or missing == 1
        )  # here and there
        assert np.mean([one for video in gone for one in video]) >= missing / 3


def test_a_missing_modality_stays_missing() -> None:
    pool = pool_of(1, 1, stills=True)
    samples = synthetic_videos(pool, 50, np.random.default_rng(1), "train", "stills", 0.9)
    assert all(sample.audio is None and sample.face is not None for sample in samples)


def test_parts_share_no_speaker() -> None:
    pool = pool_of(5, 0)
    parts = by_speaker(pool, ("actor 1", "actor 4"))
    assert set(parts["valid"].speakers) == {"actor 1", "actor 4"}
    assert set(parts["train"].speakers) == {"actor 0", "actor 2", "actor 3"}
    for found in (parts, split_pool(pool, 0.3, 0)):
        rows = {name: [row_of(v) for v in part.versions[0].audio] for name, part in found.items()}
        assert sorted(rows["train"] + rows["valid"]) == list(range(len(pool.labels)))
        for name, part in found.items():
            assert part.labels.tolist() == pool.labels[rows[name]].tolist()
            assert part.speakers == tuple(pool.speakers[row] for row in rows[name])
    assert len(split_pool(pool, 0.3, 0)["valid"].labels) == round(0.3 * len(pool.labels))


def test_either_set_of_labels() -> None:
    said = pool_of(1, 0, each=1).versions
    known = LabelledPosteriors(
        said, np.array([0, 7, 3, 2]), np.array([1, -1, 0, 2]), ("actor 1",) * 4
    )
    assert known.pool(EMOTIONS).labels.tolist() == [0, 7, 3, 2]
    assert known.pool(POLARITY_LABELS).labels.tolist() == [1, -1, 0, 2]
    assert known.pool(EMOTIONS).names == EMOTIONS


# --- it learns -----------------------------------------------------------------------------------


def test_the_fusion_learns() -> None:
    found = trained()
    judged = modality_scores(found.model, pool_of(3, 7), found.calibration.temperature)
    for one in (judged.both, judged.audio, judged.face):
        assert one.count == 3 * 3 * 6
        assert one.balanced_accuracy > 0.85
    assert 0 <= judged.calibration_error < 0.3
    stills = modality_scores(found.model, pool_of(1, 8, stills=True, each=20), 1.0)
    assert stills.both.balanced_accuracy > 0.85
    assert found.model.config.votes
    assert found.progress.best_value > -0.7


def test_the_seed_decides_the_fusion() -> None:
    clips = by_speaker(pool_of(4, 0), ("actor 3",))
    stills = split_pool(pool_of(1, 1, stills=True), 0.4, 0)
    few = dataclasses.replace(
        SETTINGS,
        clip_videos=20,
        still_videos=10,
        validation_videos=10,
        optimiser=dataclasses.replace(SETTINGS.optimiser, epochs=1),
    )
    one, again, other = (fuse(clips, stills, few, seed).model.state_dict() for seed in (0, 0, 1))
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
def test_the_shipped_model_gives_the_logits_of_the_fusion() -> None:
    experts, fused = some_experts(3, members=3), trained().model
    clips = made_clips(6, 2)
    clips[1] = dataclasses.replace(clips[1], mel_power=None, prosody=None)
    clips[2] = dataclasses.replace(clips[2], face=None)
    clips[3] = dataclasses.replace(clips[3], prosody=None)
    face_of = clips[4].face
    assert face_of is not None
    clips[4] = dataclasses.replace(clips[4], face=dataclasses.replace(face_of, neutral=None))
    stills = made_stills(made_clips(5, 3))
    model = assembled(EXPERTS, experts, fused)
    assert not model.training
    assert model.config.experts == dataclasses.replace(EXPERTS, audio_members=3, face_members=3)
    expected = logits_of(fused, posteriors_of_clips(EXPERTS, experts, clips))
    assert np.ptp(expected, axis=0).max() > 0.1
    for clip, logits in zip(clips, expected, strict=True):
        audio = face = None
        if clip.mel_power is not None:
            heard = torch.from_numpy(normalised_log(clip.mel_power, FLOOR_DB))[None]
            spoken = None if clip.prosody is None else torch.from_numpy(clip.prosody)[None]
            audio, _ = model.encoder("audio")(heard, torch.tensor([heard.shape[2]]), spoken)
        if clip.face is not None:
            shown = torch.from_numpy(clip.face.landmarks)[None]
            neutral = clip.face.neutral
            extras = FaceExtras(None if neutral is None else torch.from_numpy(neutral)[None])
            face, _ = model.encoder("face")(shown, torch.ones(1, shown.shape[1]).bool(), extras)
        np.testing.assert_allclose(logits_alone(model, audio, face), logits, atol=1e-4)
    expected = logits_of(fused, posteriors_of_stills(EXPERTS, experts, stills))
    for row, logits in enumerate(expected):
        looks = model.classify_pixels(
            torch.from_numpy(standardised(stills.pictures[row : row + 1]))
        )
        assert looks is not None
        face, _ = model.encoder("face")(
            stills.landmarks[row][None, None],
            torch.ones(1, 1, dtype=torch.bool),
            FaceExtras(pixels=looks[:, None]),
        )
        np.testing.assert_allclose(logits_alone(model, None, face), logits, atol=1e-4)


def test_videos_of_rows() -> None:
    model, said = trained().model, pool_of(2, 5).versions[0]
    alone = logits_of(model, said)
    assert alone.shape == (len(said.audio), 3)
    videos = [np.array([3, 1, 4]), np.array([5])]
    found = logits_of(model, said, videos)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found[3], alone[5], atol=1e-5)  # padding changes nothing
    np.testing.assert_allclose(found[:3], logits_of(model, said, videos[:1]), atol=1e-5)
    assert np.abs(found[:3] - alone[[3, 1, 4]]).max() > 1e-3  # the context does
    silent = Posteriors(np.full_like(said.audio, np.nan), said.face)
    np.testing.assert_allclose(logits_of(model, silent), logits_of(model, said, without="audio"))


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


def test_a_strong_prior_changes_nothing() -> None:
    model, pool = trained().model, pool_of(3, 6)
    plain = adapted_scores(model, pool, 5, None, seed=0)
    assert plain.count == 3 * 20 * 5
    assert adapted_scores(model, pool, 5, 1e9, seed=0) == plain
    assert adapted_scores(model, pool, 5, 0.0, seed=0) != plain


def test_adaptation_removes_a_label_that_never_changes() -> None:
    model, pool = trained().model, pool_of(3, 6)
    plain = adapted_scores(model, pool, 5, None, seed=0, alike=True)
    moved = adapted_scores(model, pool, 5, 0.0, seed=0, alike=True)
    assert plain.count == moved.count == 3 * 20 * 5
    assert plain.balanced_accuracy > moved.balanced_accuracy + 0.2
    # Six of each label: more than there are cannot be drawn.
    assert adapted_scores(model, pool, 9, None, seed=0, alike=True).count == 3 * 20 * 6


def test_sums_by_hand() -> None:
    """Three utterances, two labels: a missing modality adds nothing, an utterance without label
    does not count."""
    nan = np.nan
    audio = np.array([[-0.1, -9.0], [-2.0, -1.0], [nan, nan], [-9.0, -0.1]])
    face = np.array([[-0.1, -4.0, -1.0], [-5.0, -1.0, -2.0], [nan, -0.3, -1.0], [0.0, 0.0, 0.0]])
    said = Posteriors(audio.astype(np.float32), face.astype(np.float32))
    labels = np.array([1, 0, 0, -1])
    pool = Pool(("a", "b"), labels, ("x",) * 4, (said,))
    streams = (
        VoteConfig("audio", (0, 1)),
        VoteConfig("face", (1, 0)),
        VoteConfig("face", (1, 2)),
    )
    # Of a and b: voice (−.1, −9), (−2, −1), (0, 0); face (−8, −1.1), (−2, −7), (−.6, −1).
    decided = {"both": [0, 0, 0], "face": [1, 0, 0], "audio": [0, 1, 0]}
    expected = {name: scores(labels[:3], np.array(one), 2) for name, one in decided.items()}
    assert summed(pool, streams) == expected
