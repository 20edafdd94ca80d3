"""Parts of a corpus: no group in two of them, reproducible, those of the corpus first."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SMALL, changed, seed_data_of, small_corpus, small_settings

from avsent.errors import DatasetError
from avsent.training import splits
from avsent.training.data.corpus import SPLITS, Sample
from avsent.training.settings import SplitSettings, for_source
from avsent.training.splits import (
    Split,
    groups_of,
    make_seed_data,
    make_task,
    split_samples,
)
from avsent.training.trainer import make_model


def sample(number: int, speaker: str = "", split: str = "", video: str = "") -> Sample:
    return Sample(key=f"k{number}", video=video or f"v{number}", speaker=speaker, split=split)


def divided(
    samples: list[Sample],
    classes: list[float] | None = None,
    seed: int = 0,
    settings: SplitSettings | None = None,
) -> Split:
    labels = np.array([0.0] * len(samples) if classes is None else classes)
    return split_samples(samples, labels, settings or SplitSettings(), seed)


def names(split: Split, part: str) -> set[str]:
    return {one.key for one in split[part]}


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Sample], list[float]]:
    """Videos of one speaker each; speakers may be unknown or occur in several videos."""
    samples, classes = [], []
    for video in range(draw(st.integers(6, 20))):
        known = st.sampled_from(["", "a", "b", "c", "d", "e", "f", "g"])
        speaker = draw(known)
        for _ in range(draw(st.integers(1, 3))):
            if draw(st.integers(0, 9)) == 0:
                speaker = draw(known)  # a conversation
            samples.append(sample(len(samples), speaker, video=f"v{video}"))
            classes.append(draw(st.sampled_from([0.0, 1.0, 2.4, math.nan])))
    return samples, classes


@settings(max_examples=60, deadline=None)
@given(corpora(), st.sampled_from(["speaker", "video"]), st.integers(0, 5))
def test_no_group_is_in_two_parts_and_nothing_is_lost(
    corpus: tuple[list[Sample], list[float]], by: str, seed: int
) -> None:
    samples, classes = corpus
    settings = SplitSettings(by=by)
    groups = groups_of(samples, by)
    labelled = {g for g, label in zip(groups, classes, strict=True) if not math.isnan(label)}
    if len(labelled) < 4:
        return
    split = divided(samples, classes, seed, settings)
    parts_of: dict[str, set[str]] = {}
    for part in SPLITS:
        for one in split[part]:
            if by == "speaker" and one.speaker:
                parts_of.setdefault(f"speaker {one.speaker}", set()).add(part)
            parts_of.setdefault(f"video {one.video}", set()).add(part)
    assert all(len(parts) == 1 for parts in parts_of.values())
    assert sum(len(split[part]) for part in SPLITS) == len(samples)
    assert all(split[part] for part in SPLITS)
    order = {one.key: number for number, one in enumerate(samples)}
    for part in SPLITS:
        numbers = [order[one.key] for one in split[part]]
        assert numbers == sorted(numbers)
    for part in ("valid", "test"):  # nothing can be measured on a group without a label
        assert {g for g, s in zip(groups, samples, strict=True) if s in split[part]} <= labelled
    again = divided(samples, classes, seed, settings)
    assert all(split[part] == again[part] for part in SPLITS)


def test_seeds_differ_in_what_they_validate_on_and_not_in_the_test_part() -> None:
    samples = [sample(number, f"s{number % 12}") for number in range(36)]
    classes = [float(number % 5 == 0) for number in range(36)]
    splits = [divided(samples, classes, seed) for seed in range(6)]
    assert len({frozenset(names(split, "test")) for split in splits}) == 1
    assert len({frozenset(names(split, "valid")) for split in splits}) > 1


def test_parts_are_alike_in_labels() -> None:
    """Half of the speakers say nothing but "yes", half nothing but "no"."""
    samples = [sample(number, f"s{number // 3}") for number in range(60)]
    classes = [float(number // 3 < 10) for number in range(60)]
    split = divided(samples, classes, settings=SplitSettings(test=0.2, validation=0.25))
    value = dict(zip([one.key for one in samples], classes, strict=True))
    for part in SPLITS:
        shares = [value[key] for key in names(split, part)]
        assert np.mean(shares) == pytest.approx(0.5)
    assert (len(split["test"]), len(split["valid"])) == (12, 12)


def test_groups_without_a_label_are_trained_on() -> None:
    """Of 20 speakers 6 have labels: one of them tests, one validates, all others teach."""
    samples = [sample(number, f"s{number}") for number in range(20)]
    classes = [float(number % 2) if number < 6 else math.nan for number in range(20)]
    split = divided(samples, classes)
    labelled = {f"k{number}" for number in range(6)}
    assert [len(split[part]) for part in SPLITS] == [18, 1, 1]
    assert names(split, "valid") | names(split, "test") < labelled


def test_parts_of_the_corpus_are_kept() -> None:
    corpus = small_corpus(speakers=8)
    split = divided(list(corpus.samples))
    for part in SPLITS:
        assert {one.key for one in corpus.samples if one.split == part} == names(split, part)


def test_a_missing_validation_part_is_drawn_from_training_groups() -> None:
    samples = [sample(n, f"s{n // 2}", "train" if n < 20 else "test") for n in range(24)]
    split = divided(samples)
    assert names(split, "test") == {f"k{n}" for n in range(20, 24)}
    assert len(split["valid"]) == 4
    assert not {one.speaker for one in split["valid"]} & {one.speaker for one in split["train"]}


def test_no_test_part_is_drawn_where_the_corpus_names_others() -> None:
    samples = [sample(n, f"s{n}", "train" if n < 6 else "valid") for n in range(8)]
    assert divided(samples)["test"] == []


def test_samples_without_a_part_are_left_out() -> None:
    samples = [sample(n, f"s{n}", ["train", "valid", ""][n % 3]) for n in range(9)]
    split = divided(samples)
    assert names(split, "train") | names(split, "valid") == {f"k{n}" for n in range(9) if n % 3 < 2}


def test_speakers_that_cross_parts() -> None:
    samples = [sample(0, "ann", "train"), sample(1, "bob", "valid"), sample(2, "ann", "test")]
    with pytest.raises(DatasetError) as caught:
        divided(samples)
    for word in ("k2", "'ann'", "train", "test", "--split-by video"):
        assert word in str(caught.value)
    split = divided(samples, settings=SplitSettings(by="video"))
    assert names(split, "test") == {"k2"}


def test_videos_that_cross_parts_are_never_accepted() -> None:
    samples = [sample(0, "", "train", "v"), sample(1, "", "valid", "v")]
    for by in ("speaker", "video"):
        with pytest.raises(DatasetError, match="video 'v' is in train and in valid") as caught:
            divided(samples, settings=SplitSettings(by=by))
        assert "--split-by" not in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(0, "a"), sample(1, "a")], r"speakers or videos with a label \(1\)"),
        ([sample(0, "a"), sample(1, "b")], r"speakers or videos with a label \(1\)"),
        ([sample(0, "a", "test")], "no utterances to train on"),
        ([sample(0, "a", "valid")], "no utterances to train on"),
        ([sample(0, "a", "train")], r"speakers or videos with a label \(1\)"),
        ([sample(0, "a", "train"), sample(1, "b", "practice")], "'practice' is none of train,"),
    ],
)
def test_divisions_that_are_impossible(samples: list[Sample], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        divided(samples)


def test_three_groups_are_enough() -> None:
    split = divided([sample(n, f"s{n}") for n in range(3)])
    assert [len(split[part]) for part in SPLITS] == [1, 1, 1]


def test_no_test_part_on_demand() -> None:
    split = divided([sample(n) for n in range(4)], settings=SplitSettings(test=0.0))
    assert (len(split["train"]), len(split["valid"]), len(split["test"])) == (3, 1, 0)


def test_a_conversation_ties_its_speakers_together() -> None:
    people = [("a", "v1"), ("b", "v1"), ("b", "v2"), ("c", "v3"), ("", "v3"), ("", "v4")]
    samples = [sample(n, speaker, video=video) for n, (speaker, video) in enumerate(people)]
    first, second, third, fourth, fifth, sixth = groups_of(samples, "speaker")
    assert first == second == third == "a"
    assert fourth == fifth == "c"
    assert sixth == "v4"
    assert groups_of(samples, "video") == [video for _, video in people]


def test_texts_of_other_parts_change_no_vector() -> None:
    settings = small_settings(transfer={"source": "text"}, encoder="tfidf")
    corpus = small_corpus()
    new = {f"v{n}": {"text": "bad zebra zebra unheard film"} for n in range(6, 8)}
    plain = {f"v{n}": {"text": "bad film"} for n in range(6, 8)}
    one = seed_data_of(changed(corpus, plain), settings)
    other = seed_data_of(changed(corpus, new), settings)
    assert torch.equal(one.train.vectors["text"], other.train.vectors["text"])
    assert torch.equal(one.valid.vectors["text"], other.valid.vectors["text"])
    assert one.vectors == other.vectors
    # The same words in a training text do change them.
    seen = seed_data_of(changed(corpus, {"v0": new["v6"]}), settings)
    assert not torch.equal(one.train.vectors["text"][1:], seen.train.vectors["text"][1:])


def test_text_vectors_of_the_corpus_are_used() -> None:
    corpus = small_corpus(gaps=True)
    data = seed_data_of(corpus, small_settings(transfer={"source": "text"}))
    first: Sample = data.train.samples[0][0]
    assert first.words is not None
    assert torch.equal(data.train.vectors["text"][0, 0], torch.from_numpy(first.words))
    missing = [s.words is None for video in data.train.samples for s in video]
    assert any(missing)
    assert int((~data.train.present["text"]).sum()) >= sum(missing)


def test_scales_are_fitted_on_present_vectors() -> None:
    """Missing vectors are zeros in the batch and must not enter the scale."""
    settings = small_settings()
    data = seed_data_of(small_corpus(gaps=True), settings, words=False)
    model = make_model(data.config(settings, ("audio", "face")), data.train, 0)
    voices = [s.audio for video in data.train.samples for s in video if s.audio is not None]
    assert len(voices) < int(data.train.lengths.sum())
    mean = model.state_dict()["audio_encoder.mean"]
    torch.testing.assert_close(mean, torch.from_numpy(np.mean(voices, axis=0)))


@pytest.mark.parametrize(
    ("missing", "transfer", "message"),
    [
        ({"train": "text"}, "text", "no training utterance has a label and text"),
        ({"valid": "text"}, "text", "no validation utterance has a label and text"),
        ({"train": "face"}, "face", "no training utterance has a label and face"),
        ({"valid": "face"}, "face", "no validation utterance has a label and face"),
        ({"train": "audio"}, "face", "no audio in the training part; choose another --target"),
        ({"valid": "audio"}, None, "no validation utterance has a label and audio"),
        ({"train": "labels"}, None, "no training utterance has a label and audio"),
        ({"valid": "labels"}, None, "no validation utterance has a label and audio"),
    ],
)
def test_nothing_to_learn_from(missing: dict[str, str], transfer: str | None, message: str) -> None:
    ((part, what),) = missing.items()
    without: dict[str, Any] = {
        "text": {"words": None, "text": ""},
        "face": {"face": None},
        "audio": {"audio": None},
        "labels": {"labels": {"label": ""}},
    }[what]
    corpus = small_corpus()
    videos = {one.video for one in corpus.samples if one.split == part}
    settings = small_settings(target=("audio",), labels="2", transfer={"source": transfer})
    with pytest.raises(DatasetError, match=message):
        seed_data_of(
            changed(corpus, dict.fromkeys(videos, without)), settings, words=transfer == "text"
        )


def test_the_source_learns_with_plain_regularisation() -> None:
    """A text model with the strong dropout of a target stays at chance."""
    strong = small_settings(weight_decay=1e-2, input_dropout=0.3, modality_dropout=0.5, epochs=7)
    strong = dataclasses.replace(strong, context=dataclasses.replace(SMALL, dropout=0.7))
    plain = for_source(strong)
    assert plain.context == dataclasses.replace(SMALL, dropout=0.4)
    assert (plain.optimiser.weight_decay, plain.optimiser.input_dropout) == (0.0, 0.0)
    assert plain.optimiser.modality_dropout == 0.0
    assert (plain.optimiser.epochs, plain.transfer, plain.text) == (7, strong.transfer, strong.text)


# --- training that starts from a checkpoint ---


@pytest.mark.parametrize("enough", [21, 20])
@pytest.mark.parametrize("speakers", [8, 1])
def test_nothing_is_drawn_from_few(
    enough: int, speakers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 labelled utterances nothing is held back if fewer than 21 are few."""
    monkeypatch.setattr(splits, "FEW", enough)
    corpus = small_corpus(raw=True, given=False, speakers=8)
    if speakers == 1:
        corpus = changed(corpus, {f"v{n}": {"speaker": "ann"} for n in range(8)})
    task, chosen = make_task(corpus, "label", "auto"), small_settings()
    if enough == 21 and speakers == 1:
        with pytest.raises(DatasetError, match="gives no folds; add more, or try --split-by video"):
            make_seed_data(task, chosen, 0, words=False, started=True)
        chosen = dataclasses.replace(chosen, split=SplitSettings(by="video"))
    elif speakers == 1:
        with pytest.raises(DatasetError, match=r"\(1\) to hold some back"):
            make_seed_data(task, chosen, 0, words=False, started=True)
        return
    data = make_seed_data(task, chosen, 0, words=False, started=True)
    sizes = [len(data.split[part]) for part in SPLITS]
    assert sum(sizes) == 20
    assert (sizes == [20, 0, 0], len(data.folds)) == ((True, 5) if enough == 21 else (False, 0))


def test_parts_of_few_are_kept() -> None:
    """A validation part that the corpus names is used; a test part is no training material."""
    task = make_task(small_corpus(raw=True), "label", "auto")
    assert not make_seed_data(task, small_settings(), 0, words=False, started=True).folds
    untold = {f"v{n}": {"split": "train"} for n in (4, 5)}  # the validation part
    task = make_task(changed(small_corpus(raw=True), untold), "label", "auto")
    data = make_seed_data(task, small_settings(), 0, words=False, started=True)
    assert ({s.video for s in data.split["test"]}, len(data.folds)) == ({"v6", "v7"}, 5)
    for fold in data.folds:
        assert not {s.video for s in fold.split["test"]} & {"v6", "v7"}
