"""Text that teaches: corpora of labelled sentences, and sentences as vectors."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from corpora import MELD, MOSI, needs_meld, needs_mosi
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.errors import DatasetError, UsageError
from avsent.training.data.open import open_corpus
from avsent.training.data.text import (
    SentenceEncoder,
    TextEncoder,
    TfidfSvd,
    make_text_encoder,
    read_text_corpus,
)

# --- corpora of sentences ------------------------------------------------------------------------


@needs_meld
def test_meld_gives_train_and_dev() -> None:
    items = read_text_corpus(MELD)
    assert len(items) == 9989 + 1109
    assert len({item.context for item in items}) == len(
        {item.context for item in read_text_corpus(MELD / "train_sent_emo.csv")}
    ) + len({item.context for item in read_text_corpus(MELD / "dev_sent_emo.csv")})
    assert items[0].text.startswith("also I was the point person")
    assert items[0].labels == {"emotion": "neutral", "sentiment": "neutral"}
    assert items[0].context == items[1].context == "train_sent_emo/0"
    assert Counter(item.labels["sentiment"] for item in items).keys() == {
        "positive",
        "neutral",
        "negative",
    }


@needs_mosi
def test_only_the_train_part_of_a_feature_file_is_read() -> None:
    items, samples = read_text_corpus(MOSI), open_corpus(MOSI).samples
    assert len(items) == 1447
    assert {item.context for item in items} == {s.video for s in samples if s.split == "train"}
    assert items[0].labels.keys() == {"label", "sentiment"}


def test_a_list_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text('Text,LABEL,context\n"good, really",happy,d1\n,sad,d1\nwell,,d1\nbad,sad,\n')
    items = read_text_corpus(path)
    assert [item.text for item in items] == ["good, really", "well", "bad"]
    assert [item.labels for item in items] == [{"label": "happy"}, {}, {"label": "sad"}]
    assert [item.context for item in items] == ["texts/d1", "texts/d1", "texts.csv:5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"texts\.csv: nothing in it"),
        (b"label\nhappy\n", r"texts\.csv:1: no column text"),
        (b"text\ngood\n", r"texts\.csv:1: no column label"),
        (b"text,label\n", r"texts\.csv: no rows"),
        (b"text,label\ngood,\n", r"texts\.csv: no text with a label"),
        (b"text,label\ngood,happy\nb\xffd,sad\n", r"texts\.csv:3: not UTF-8"),
        (b"text,label\ngood,happy,more\n", r"texts\.csv:2: 3 cells"),
    ],
)
def test_bad_text_corpora_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_text_corpus(tmp_path / "texts.csv")
    with pytest.raises(DatasetError, match="neither train_sent_emo"):
        read_text_corpus(tmp_path)


# --- sentences as vectors ------------------------------------------------------------------------


TEXTS = [
    "I love this film, it is so good",
    "what a good film, I loved it",
    "I hate this film, it is so bad",
    "what a bad, bad ending",
    "nobody knows what happens in the ending",
]


def fitted(texts: list[str], size: int = 100) -> TfidfSvd:
    encoder = TfidfSvd(size)
    encoder.fit(texts)
    return encoder


def test_tfidf_vectors_of_similar_texts_are_close() -> None:
    encoder = fitted(TEXTS, 4)
    good, also_good, bad = encoder.encode(["so good", "good film", "bad ending"])
    assert good @ also_good > good @ bad
    assert encoder.size == 4


def test_tfidf_gives_unit_vectors_and_zero_for_no_words() -> None:
    encoder = fitted(TEXTS, 3)
    vectors = encoder.encode([*TEXTS, "", " \n", "Quite unheard-of", "!?"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (9, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors[:5], axis=1), 1, rtol=1e-5)
    assert not vectors[5:].any()
    assert encoder.encode([]).shape == (0, 3)


def test_tfidf_is_deterministic_and_fitted_on_training_texts_only() -> None:
    one, other = fitted(TEXTS).encode(TEXTS), fitted(TEXTS).encode(TEXTS)
    np.testing.assert_array_equal(one, other)
    encoder = fitted(TEXTS)
    before = encoder.encode(["so good"])
    encoder.encode(["other words than those"] * 50)
    np.testing.assert_array_equal(encoder.encode(["so good"]), before)


def test_a_vector_does_not_depend_on_the_other_texts() -> None:
    encoder = fitted(TEXTS)
    together = encoder.encode(TEXTS)
    for index, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode([text])[0], together[index], atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "size"), [(["a"], 1), (["a b"], 1), (["same same"] * 3, 2), (["x", "y", ""], 2)]
)
def test_few_texts_give_short_vectors(texts: list[str], size: int) -> None:
    encoder = fitted(texts)
    assert encoder.size == size
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(texts[:1])), 1, rtol=1e-5)


def test_scripts_without_spaces_are_split_into_characters() -> None:
    encoder = fitted(["今天天气很好", "今天天气不好", "very 好 day"])
    good, bad, shared = encoder.encode(["很好", "不好", "好"])
    assert min(shared @ good, shared @ bad) > 0.3 > good @ bad  # they share a character


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(max_size=20), min_size=1, max_size=6),
    st.lists(st.text(max_size=20)),
    st.integers(1, 5),
)
def test_any_text_is_encoded_or_refused(texts: list[str], others: list[str], size: int) -> None:
    encoder = TfidfSvd(size)
    try:
        encoder.fit(texts)
    except DatasetError:
        assert not any(character.isalnum() for text in texts for character in text)
        return
    vectors = encoder.encode(others)
    assert vectors.shape == (len(others), encoder.size)
    assert encoder.size <= size
    lengths = np.linalg.norm(vectors, axis=1)
    assert ((np.abs(lengths - 1) < 1e-4) | (lengths == 0)).all()


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(DatasetError, match="hold no words"):
        TfidfSvd().fit(["", "...", "  "])
    with pytest.raises(RuntimeError, match="fit the encoder"):
        TfidfSvd().encode(["a"])


# --- sentence-transformers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, tiny model, saved as sentence-transformers saves them."""
    pytest.importorskip("sentence_transformers", reason="needs the extra [text]")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", "good", "fine", "bad", "film"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.array([[0, 0, 1], [3, 0, 0], [3, 0.5, 0], [-3, 0, 0], [0, 2, 0]], dtype=np.float32)
    folder = tmp_path_factory.mktemp("model")
    embedding = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[embedding], device="cpu").save(str(folder))
    return folder


def test_a_model_from_a_folder(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encoder: TextEncoder = make_text_encoder(str(model), 100)
    encoder.fit(TEXTS)
    assert encoder.size == 3  # the model's own, whatever was asked for
    vectors = encoder.encode(["good", "fine", "bad film", "", "  "])
    assert vectors.dtype == np.float32
    expected = np.array([[1, 0, 0], [3, 0.5, 0], [-1.5, 1, 0], [0, 0, 0], [0, 0, 0]])
    expected[1:3] /= np.linalg.norm(expected[1:3], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert encoder.encode([]).shape == (0, 3)
    assert capfd.readouterr() == ("", "")  # no bars, no chatter
    # Every text is read once, however often it is asked for.
    assert isinstance(encoder, SentenceEncoder)
    encoder._model = None
    np.testing.assert_array_equal(encoder.encode(["bad film", "", "good"]), vectors[[2, 3, 0]])


@pytest.mark.parametrize("name", ["no-such/model", "./gone", "{tmp}"])
def test_a_model_that_is_not_there(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError) as caught:
        SentenceEncoder(name.format(tmp=tmp_path))
    message = str(caught.value)
    assert "no sentence-transformers model can be loaded from it" in message
    assert message.endswith("give a model's folder, or a name while online, or use tfidf")
    assert "\n" not in message
    assert len(message) < 400


def test_without_the_package() -> None:
    """In a process that cannot import it, as after ``pip install avsent``."""
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'sentence_transformers':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from avsent.errors import UsageError\n"
        "from avsent.training.data.text import make_text_encoder\n"
        "assert make_text_encoder('tfidf', 7).size == 7\n"
        "try:\n"
        "    make_text_encoder('some/model', 7)\n"
        "except UsageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'avsent[text]'" in done.stdout


def test_heavy_libraries_are_loaded_late(tmp_path: Path) -> None:
    """TF-IDF needs neither torch nor transformers, importing not even scikit-learn."""
    code = (
        "import sys, avsent.training.data.text as text\n"
        "assert not {'sklearn', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
        "text.make_text_encoder('tfidf', 5).fit(['good film'])\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
