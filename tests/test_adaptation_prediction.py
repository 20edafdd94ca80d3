"""``--adapt``: what it makes of files, from Python and from the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import SAMPLE

from avsent.adapt import Adapt
from avsent.checkpoints import Calibration, save_checkpoint
from avsent.cli import main
from avsent.errors import UsageError
from avsent.features.config import FeatureConfig
from avsent.labels import POLARITY_LABELS
from avsent.networks import config as sizes
from avsent.networks.adaptation import MIN_UTTERANCES, PRIOR
from avsent.networks.target import TargetModel
from avsent.pipeline import Analysis, PredictOptions, Predictor
from avsent.results import Result
from avsent.training.shipped.fusing import vote_streams

SHORT = ("talk_happy_zh.mp4", "grid/bbaf2n.mpg")
"""Two utterances and one: each alone too few, together just enough."""

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(folder: Path, experts: sizes.ExpertsConfig | None) -> Path:
    torch.manual_seed(3)
    model = TargetModel(
        sizes.TargetConfig(
            experts=experts,
            votes=vote_streams(POLARITY_LABELS) if experts is not None else (),
            context=sizes.ContextConfig(first_gru=6, dense=6, second_gru=4, classifier=6),
        )
    )
    # Experts that know nothing say much the same all the time: listen closely.
    if model.votes is not None:
        torch.nn.init.normal_(model.votes.weight, std=3.0)
        torch.nn.init.normal_(model.head.classifier[-1].weight)  # type: ignore[union-attr,index,arg-type]
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
        audio=sizes.AudioEncoderConfig(channels=(3, 4, 5), attention=4, representation=4),
        still=sizes.FaceEncoderConfig(hidden=(6,), attention=4, representation=4),
        movement=sizes.MovementConfig(channels=(5,), attention=4, representation=4),
        pixels=sizes.PixelConfig(members=1, stem=2, channels=(3, 4)),
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
    return dataclasses.replace(analysis, adapt=adapt)


def judged(result: Result) -> list[float]:
    return [p for u in result.utterances for p in u.probabilities.values()]


def test_the_decision_is_that_on_the_moved_utterances(
    predictor: Predictor, sample: Analysis
) -> None:
    plain = predictor.conclude(sample)
    moved = predictor.conclude(asked(sample, Adapt.speaker))
    by_hand = list(sample.represented)
    assert [one.track for one in by_hand] == [1, 1, 1, 1]
    for name in ("audio", "face"):
        own = torch.stack([v for one in by_hand if (v := one.of(name)) is not None])
        step = own.mean(dim=0) * 4 / (4 + PRIOR)
        by_hand = [
            dataclasses.replace(one, **{name: value})
            for one, value in zip(by_hand, own - step, strict=True)
        ]
    expected = predictor.conclude(dataclasses.replace(sample, represented=tuple(by_hand)))
    assert judged(moved) == pytest.approx(judged(expected), abs=1e-6)
    assert judged(moved) != pytest.approx(judged(plain), abs=1e-3)
    assert moved.warnings == plain.warnings == ()


def test_one_speaker_alone_is_the_corpus(predictor: Predictor, sample: Analysis) -> None:
    by_track, by_corpus = (
        predictor.conclude(asked(sample, adapt)) for adapt in (Adapt.speaker, Adapt.corpus)
    )
    assert by_track == by_corpus


def test_too_few_utterances_of_a_video(predictor: Predictor, short: list[Analysis]) -> None:
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
    nothing = dataclasses.replace(sample, represented=(), adapt=Adapt.speaker)
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


def test_files_of_the_programming_interface(predictor: Predictor, clips: Path) -> None:
    options = PredictOptions(adapt=Adapt.corpus)
    paths = [clips / name for name in SHORT]
    there = list(predictor.predict_many(paths, options=options))
    back = list(predictor.predict_many(paths[::-1], options=options))
    assert [result.source for result in there] == [str(path) for path in paths]
    for one, other in zip(there, back[::-1], strict=True):
        assert judged(one) == pytest.approx(judged(other), abs=1e-6)
    alone = predictor.predict(paths[0], options=options)
    assert judged(alone) != pytest.approx(judged(there[0]), abs=1e-3)


def test_the_command(
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


def test_where_all_fail_nothing_is_written(checkpoint: Path, folder: Path) -> None:
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
