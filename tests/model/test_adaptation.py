"""``--adapt``: group means, and its effect from Python and from the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import SAMPLE
from small_models import random
from torch import Tensor

from avsent.cli.app import main
from avsent.errors import UsageError
from avsent.extraction.extractor import FeatureConfig, UtteranceFeatures
from avsent.extraction.utterances.segmentation import Segment
from avsent.model.checkpoint import Calibration, save_checkpoint
from avsent.model.decision import adapted
from avsent.model.encoding import EncodedUtterance
from avsent.model.networks import config as sizes
from avsent.model.networks.adaptation import (
    MIN_UTTERANCES,
    NO_GROUP,
    PRIOR,
    in_group,
    subtract_group_mean,
)
from avsent.model.networks.target import TargetModel
from avsent.options import Adapt, PredictOptions
from avsent.predictor import Analysis, Predictor
from avsent.result.record import Result
from recipes import card

pytestmark = pytest.mark.usefixtures("one_thread")


def one_video(*groups: int) -> Tensor:
    return torch.tensor([groups])


def everywhere(groups: Tensor) -> Tensor:
    return torch.ones_like(groups, dtype=torch.bool)


# --- tensors -------------------------------------------------------------------------------------


def test_group_means_by_hand() -> None:
    values = torch.tensor([[[1.0, 2.0], [2.0, -8.0], [6.0, -2.0], [100.0, 100.0]]])
    groups = one_video(7, 7, 7, NO_GROUP)
    # The mean of three is (3, −8/3); with a prior of 5 they go 3/8 of the way: (9/8, −1).
    expected = torch.tensor([[[-0.125, 3.0], [0.875, -7.0], [4.875, -1.0], [100.0, 100.0]]])
    moved = subtract_group_mean(values, everywhere(groups), groups, prior=5.0, least=3)
    torch.testing.assert_close(moved, expected)
    assert in_group(everywhere(groups), groups, 3).tolist() == [[True, True, True, False]]
    # Without a prior the mean is gone.
    moved = subtract_group_mean(values, everywhere(groups), groups, prior=0.0, least=3)
    torch.testing.assert_close(moved[0, :3].mean(dim=0), torch.zeros(2))


def test_a_group_with_too_few_utterances_is_not_moved() -> None:
    values = random(1, 6, 5)
    groups = one_video(1, 1, 2, 2, NO_GROUP, NO_GROUP)
    assert torch.equal(subtract_group_mean(values, everywhere(groups), groups), values)
    assert not in_group(everywhere(groups), groups).any()
    # One more, and its group is moved; nothing else is.
    groups = one_video(1, 1, 2, 2, 2, NO_GROUP)
    same = (subtract_group_mean(values, everywhere(groups), groups) == values).all(dim=-1)
    assert same.tolist() == [[True, True, False, False, False, True]]
    assert MIN_UTTERANCES == 3


def test_groups_do_not_mix() -> None:
    """Neither those of a video, nor those of the same number in two videos."""
    values = random(2, 7, 4)
    groups = torch.tensor([[1, 2, 1, 2, 1, 2, 2], [2, 2, 2, 1, 1, 1, 1]])
    moved = subtract_group_mean(values, everywhere(groups), groups)
    for video in range(2):
        for group in (1, 2):
            chosen = groups[video] == group
            own = values[video, chosen]
            expected = own - own.mean(dim=0) * len(own) / (len(own) + PRIOR)
            torch.testing.assert_close(moved[video, chosen], expected)


def test_a_missing_stream_stays_missing() -> None:
    """It is 0 exactly; it is not counted, and where too few have it, it is not moved at all."""
    values = torch.tensor([[[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [-1.0, 1.0], [5.0, 0.0]]])
    groups = torch.zeros(1, 5, dtype=torch.long)
    moved = subtract_group_mean(values, everywhere(groups), groups, prior=5.0, least=3)
    # The sum of four is 8: 8 / (4 + 5) of it goes. Of the other column there are two alone.
    expected = [0.0, 2 - 8 / 9, 2 - 8 / 9, -1 - 8 / 9, 5 - 8 / 9]
    assert moved[0, :, 0].tolist() == pytest.approx(expected)
    assert torch.equal(moved[..., 1], values[..., 1])


def test_a_missing_utterance_is_not_counted() -> None:
    values = random(1, 6, 4)
    values[0, 1] = torch.nan
    groups = torch.zeros(1, 6, dtype=torch.long)
    present = torch.tensor([[True, False, True, True, False, True]])
    moved = subtract_group_mean(values, present, groups)
    own = values[present]
    torch.testing.assert_close(moved[present], own - own.mean(dim=0) * 4 / (4 + PRIOR))
    assert torch.equal(moved[0, 4], values[0, 4])
    # Of four utterances only two have a voice: too few, although four are there.
    present = torch.tensor([[True, False, False, True, False, False]])
    assert torch.equal(
        subtract_group_mean(values, present, groups).nan_to_num(), values.nan_to_num()
    )
    assert not in_group(present, groups).any()


def test_a_video_as_one_group_as_the_card_measures_it() -> None:
    values, lengths = random(3, 5, 4), (5, 3, 2)
    present = torch.tensor([[place < length for place in range(5)] for length in lengths])
    moved = card.adapted(values, present, 2.0)
    for video, length in enumerate(lengths):
        own = values[video, :length]
        expected = own - own.mean(dim=0) * length / (length + 2.0) if length >= 3 else own
        torch.testing.assert_close(moved[video, :length], expected)


# --- utterances ----------------------------------------------------------------------------------


def utterance(seed: int, track: int | None, *, voice: bool = True) -> EncodedUtterance:
    return EncodedUtterance(
        UtteranceFeatures(Segment(float(seed), seed + 0.5), track, None, None),
        audio=random(4, seed=seed) if voice else None,
        face=None if track is None else random(3, seed=seed + 50),
    )


def measured(
    own: Sequence[EncodedUtterance], adapt: Adapt, others: Sequence[EncodedUtterance] = ()
) -> list[EncodedUtterance] | None:
    """``own`` utterances adapted together with ``others``; None where none of them moved, and then
    all must be as they were."""
    items, moved = adapted([*own, *others], adapt)
    assert len(items) == len(moved) == len(own) + len(others)
    if any(moved[: len(own)]):
        return items[: len(own)]
    for before, after in zip(own, items, strict=False):
        for name in ("audio", "face"):
            old, new = before.of(name), after.of(name)
            assert old is new is None or torch.equal(old, new)  # type: ignore[arg-type]
    return None


def test_each_track_has_its_own_mean() -> None:
    """The voice of an utterance without a track stays, and so does a track seen twice."""
    tracks = (1, 2, None, 1, None, 1, 2, None)
    items = [utterance(seed, track) for seed, track in enumerate(tracks)]
    moved = measured(items, Adapt.speaker)
    assert moved is not None
    assert [one.track for one in moved] == list(tracks)
    for name in ("audio", "face"):
        own = torch.stack([v for i in (0, 3, 5) if (v := items[i].of(name)) is not None])
        expected = iter(own - own.mean(dim=0) * 3 / (3 + PRIOR))
        for before, after in zip(items, moved, strict=True):
            old, new = before.of(name), after.of(name)
            if old is None or new is None:
                assert old is new
            elif before.track == 1:
                torch.testing.assert_close(new, next(expected))
            else:
                assert torch.equal(new, old)


def test_a_corpus_is_one_group_of_all_utterances() -> None:
    own = [utterance(0, 1), utterance(1, None), utterance(2, 2, voice=False)]
    others = [utterance(seed, 1) for seed in range(3, 8)]
    moved = measured(own, Adapt.corpus, others)
    assert moved is not None
    assert len(moved) == len(own)
    voices = torch.stack([one.audio for one in (*own, *others) if one.audio is not None])
    step = voices.mean(dim=0) * 7 / (7 + PRIOR)
    torch.testing.assert_close(torch.stack([v.audio for v in moved[:2]]), voices[:2] - step)  # type: ignore[misc]
    assert moved[1].face is None
    assert moved[2].audio is None
    assert measured(own, Adapt.speaker) is None
    assert measured(own[:2], Adapt.corpus) is None
    assert adapted([], Adapt.speaker) == ([], [])
    # Three utterances, but two voices and two faces.
    assert measured(own, Adapt.corpus) is None
    # Enough voices, but the one of this video is not among them.
    voices_alone = [utterance(seed, None) for seed in range(3, 8)]
    assert measured(own[2:], Adapt.corpus, voices_alone) is None


SHORT = ("talk_happy_zh.mp4", "grid/bbaf2n.mpg")
"""Two utterances and one: each alone too few, together just enough."""


def saved(folder: Path, experts: sizes.ExpertsConfig | None) -> Path:
    torch.manual_seed(3)
    model = TargetModel(
        sizes.TargetConfig(
            experts=experts,
            context=sizes.ContextConfig(first_gru=6, dense=6, second_gru=4, classifier=6),
        )
    )
    # Experts that know nothing say much the same all the time: listen closely.
    if experts is not None:
        torch.nn.init.normal_(model.head.classifier[-1].weight, std=30.0)  # type: ignore[union-attr,index,arg-type]
    about = {
        "licence": "none",
        "features": FeatureConfig(),
        "calibration": Calibration(temperature=6.0),
    }
    save_checkpoint(folder, model, name=folder.name, **about)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experts of a few neurons that were taught nothing."""
    experts = sizes.ExpertsConfig(
        audio_members=1,
        face_members=1,
        voice_attention=4,
        whisper=sizes.WhisperConfig(64, size=4, heads=2, layers=1, positions=500, kept=1),
        still=sizes.FaceEncoderConfig(hidden=(6,), attention=4, representation=4),
        movement=sizes.MovementConfig(channels=(5,), attention=4, representation=4),
        pixels=sizes.PixelConfig(stem=2, channels=(3, 4)),
    )
    return saved(tmp_path_factory.mktemp("models") / "experts", experts)


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def sample(predictor: Predictor) -> Analysis:
    return predictor.analyse(SAMPLE)


@pytest.fixture(scope="module")
def short(predictor: Predictor, clips: Path) -> list[Analysis]:
    return [predictor.analyse(clips / name) for name in SHORT]


def asked(analysis: Analysis, adapt: Adapt) -> Analysis:
    return dataclasses.replace(analysis, options=dataclasses.replace(analysis.options, adapt=adapt))


def judged(result: Result) -> list[float]:
    return [p for u in result.utterances for p in u.probabilities.values()]


def test_the_decision_is_made_on_the_adapted_utterances(
    predictor: Predictor, sample: Analysis
) -> None:
    plain = predictor.conclude(sample)
    moved = predictor.conclude(asked(sample, Adapt.speaker))
    by_hand = list(sample.utterances)
    assert [one.track for one in by_hand] == [1, 1, 1, 1]
    for name in ("audio", "face"):
        own = torch.stack([v for one in by_hand if (v := one.of(name)) is not None])
        step = own.mean(dim=0) * 4 / (4 + PRIOR)
        by_hand = [
            dataclasses.replace(one, **{name: value})
            for one, value in zip(by_hand, own - step, strict=True)
        ]
    expected = predictor.conclude(dataclasses.replace(sample, utterances=tuple(by_hand)))
    assert judged(moved) == pytest.approx(judged(expected), abs=1e-6)
    assert judged(moved) != pytest.approx(judged(plain), abs=1e-3)
    assert moved.warnings == plain.warnings == ()


def test_a_video_of_one_speaker_is_a_corpus(predictor: Predictor, sample: Analysis) -> None:
    by_track, by_corpus = (
        predictor.conclude(asked(sample, adapt)) for adapt in (Adapt.speaker, Adapt.corpus)
    )
    assert by_track == by_corpus


def test_a_video_with_too_few_utterances_gets_a_warning(
    predictor: Predictor, short: list[Analysis]
) -> None:
    for analysis in short:
        plain = predictor.conclude(analysis)
        assert 0 < len(plain.utterances) < MIN_UTTERANCES
        for adapt, warning in (
            (Adapt.speaker, "--adapt speaker: no track has 3 utterances or more: not adapted"),
            (
                Adapt.corpus,
                "--adapt corpus: neither voice nor face in 3 utterances or more: not adapted",
            ),
        ):
            asked_for = predictor.conclude(asked(analysis, adapt))
            assert asked_for == dataclasses.replace(plain, warnings=(*plain.warnings, warning))


def test_a_file_without_utterances_needs_no_warning(predictor: Predictor, sample: Analysis) -> None:
    nothing = dataclasses.replace(asked(sample, Adapt.speaker), utterances=())
    result = predictor.conclude(nothing)
    assert result.utterances == result.warnings == ()


def test_the_order_of_files_is_irrelevant(
    predictor: Predictor, sample: Analysis, short: list[Analysis]
) -> None:
    analyses = [asked(one, Adapt.corpus) for one in (sample, *short)]
    for place, own in enumerate(analyses):
        others = [one for one in analyses if one is not own]
        plain = predictor.conclude(asked(own, Adapt.none), others)
        forth, back = (predictor.conclude(own, order) for order in (others, others[::-1]))
        assert plain == predictor.conclude(asked(own, Adapt.none))
        assert judged(forth) == pytest.approx(judged(back), abs=1e-6)
        assert judged(forth) != pytest.approx(judged(plain), abs=1e-3), place
        assert not any("--adapt" in warning for warning in forth.warnings)


def test_predict_many_adapts_to_all_files(predictor: Predictor, clips: Path) -> None:
    options = PredictOptions(adapt=Adapt.corpus)
    paths = [clips / name for name in SHORT]
    there = list(predictor.predict_many(paths, options=options))
    back = list(predictor.predict_many(paths[::-1], options=options))
    assert [result.source for result in there] == [str(path) for path in paths]
    for one, other in zip(there, back[::-1], strict=True):
        assert judged(one) == pytest.approx(judged(other), abs=1e-6)
    alone = predictor.predict(paths[0], options=options)
    assert judged(alone) != pytest.approx(judged(there[0]), abs=1e-3)


def test_predict_with_each_choice_of_adapt(
    checkpoint: Path,
    predictor: Predictor,
    short: list[Analysis],
    clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not media")
    files = [str(clips / SHORT[0]), str(bad), str(clips / SHORT[1])]
    for adapt in Adapt:
        out = tmp_path / f"{adapt}.json"
        options = ["--adapt", adapt.value, "--checkpoint", str(checkpoint), "--device", "cpu"]
        assert main(["predict", *files, "-o", str(out), *options]) == 5
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 2
        assert "bad.mp4" in errors[0]
        assert errors[1] == "avsent: error: 1 of 3 files failed; the others are done"
        found = [Result.from_dict(one) for one in json.loads(out.read_text("utf-8"))]
        analyses = [asked(one, adapt) for one in short]
        for result, own, other in zip(found, analyses, analyses[::-1], strict=True):
            expected = predictor.conclude(own, [other])
            assert result.source == own.source
            assert result.warnings == expected.warnings
            assert judged(result) == pytest.approx(judged(expected), abs=2e-6)
    assert (tmp_path / "none.json").read_text() != (tmp_path / "corpus.json").read_text()


def test_a_batch_drops_the_warning_of_an_earlier_run_with_too_few_files(
    checkpoint: Path, clips: Path, tmp_path: Path
) -> None:
    """Two utterances are too few; with a third one, of another file, all are adapted."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    names = [Path(name).name for name in SHORT]
    command = ["batch", str(videos), "-o", str(out), "--adapt", "corpus", "-q", "--workers", "1"]
    command += ["--checkpoint", str(checkpoint), "--device", "cpu"]

    def warnings(name: str) -> list[str]:
        result: list[str] = json.loads((out / f"{name}.json").read_text("utf-8"))["warnings"]
        return result

    shutil.copyfile(clips / SHORT[0], videos / names[0])
    assert main(command) == 0
    too_few = "--adapt corpus: neither voice nor face in 3 utterances or more: not adapted"
    assert warnings(names[0]) == [too_few]
    shutil.copyfile(clips / SHORT[1], videos / names[1])
    assert main(command) == 0
    assert warnings(names[0]) == warnings(names[1]) == []
    # The other way round it comes back, once.
    (videos / names[1]).unlink()
    assert main(command) == 0
    assert warnings(names[0]) == [too_few]


def test_no_output_where_all_files_fail(checkpoint: Path, folder: Path) -> None:
    command = ["predict", "a.mp4", "missing.mp4", "--adapt", "corpus", "-o", "all.json"]
    assert main([*command, "--checkpoint", str(checkpoint)]) == 3
    assert not (folder / "all.json").exists()


@pytest.mark.parametrize("adapt", ["speaker", "corpus"])
def test_only_experts_can_be_adapted(
    folder: Path, capsys: pytest.CaptureFixture[str], adapt: str
) -> None:
    plain = saved(folder / "plain", None)
    command = ["predict", "a.mp4", "b.mp4", "--adapt", adapt, "--checkpoint", str(plain)]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == (
        "avsent: error: --adapt needs a model with experts, such as default; plain has none: "
        "leave --adapt out, or give another --checkpoint"
    )
    with pytest.raises(UsageError, match="experts"):
        Predictor.load(plain).predict("a.mp4", options=PredictOptions(adapt=Adapt(adapt)))
