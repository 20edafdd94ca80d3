"""From a corpus to what is learnt from: vectors of texts, scales, and what is missing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SMALL, changed, material_of, small_corpus, small_settings

from avsent.data.corpus import Sample
from avsent.errors import DatasetError
from avsent.training.settings import for_source
from avsent.training.source import make_model


def test_words_of_other_parts_change_nothing() -> None:
    told = small_settings(transfer={"source": "text"}, encoder="tfidf")
    corpus = small_corpus()
    new = {f"v{n}": {"text": "bad zebra zebra unheard film"} for n in range(6, 8)}
    plain = {f"v{n}": {"text": "bad film"} for n in range(6, 8)}
    one = material_of(changed(corpus, plain), told)
    other = material_of(changed(corpus, new), told)
    assert torch.equal(one.train.vectors["text"], other.train.vectors["text"])
    assert torch.equal(one.valid.vectors["text"], other.valid.vectors["text"])
    assert one.vectors == other.vectors
    # The same words in a training text do change them.
    seen = material_of(changed(corpus, {"v0": new["v6"]}), told)
    assert not torch.equal(one.train.vectors["text"][1:], seen.train.vectors["text"][1:])


def test_words_that_come_along_are_taken() -> None:
    corpus = small_corpus(gaps=True)
    material = material_of(corpus, small_settings(transfer={"source": "text"}))
    first: Sample = material.train.samples[0][0]
    assert first.words is not None
    assert torch.equal(material.train.vectors["text"][0, 0], torch.from_numpy(first.words))
    missing = [s.words is None for video in material.train.samples for s in video]
    assert any(missing)
    assert int((~material.train.present["text"]).sum()) >= sum(missing)


def test_scales_are_those_of_what_is_there() -> None:
    """Missing vectors are zeros in the batch and must not enter the scale."""
    told = small_settings()
    material = material_of(small_corpus(gaps=True), told, words=False)
    model = make_model(material.config(told, ("audio", "face")), material.train, 0)
    voices = [s.audio for video in material.train.samples for s in video if s.audio is not None]
    assert len(voices) < material.train.utterances()
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
    told = small_settings(target=("audio",), labels="2", transfer={"source": transfer})
    with pytest.raises(DatasetError, match=message):
        material_of(changed(corpus, dict.fromkeys(videos, without)), told, words=transfer == "text")


def test_the_source_learns_with_plain_regularisation() -> None:
    """A text model under the dropout that a poor target needs stays at chance."""
    strong = small_settings(weight_decay=1e-2, input_dropout=0.3, modality_dropout=0.5, epochs=7)
    strong = dataclasses.replace(strong, context=dataclasses.replace(SMALL, dropout=0.7))
    plain = for_source(strong)
    assert plain.context == dataclasses.replace(SMALL, dropout=0.4)
    assert (plain.optimiser.weight_decay, plain.optimiser.input_dropout) == (0.0, 0.0)
    assert plain.optimiser.modality_dropout == 0.0
    assert (plain.optimiser.epochs, plain.transfer, plain.text) == (7, strong.transfer, strong.text)
