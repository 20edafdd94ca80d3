"""The run's folder: which command resumes the run in it, and more or fewer epochs than before."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_models
import typer
from small_runs import (
    POLARITIES,
    TEXT_SOURCE,
    WEIGHTS,
    changed,
    feature_file,
    files,
    lines_of,
    read,
    run_small,
    small_corpus,
    small_settings,
)

from avsent.cli.app import app, main
from avsent.errors import UsageError
from avsent.labels import MODALITIES, LabelScale
from avsent.training import run as run_module
from avsent.training import trainer
from avsent.training.data.corpus import Corpus
from avsent.training.data.text import TextItem
from avsent.training.run import Hooks

pytestmark = pytest.mark.usefixtures("one_thread")


def stopper(after: int) -> Callable[..., None]:
    """Ctrl-C after so many epochs."""
    epochs = itertools.count(1)

    def stop(*arguments: object) -> None:
        if next(epochs) == after:
            raise KeyboardInterrupt

    return stop


# --- other options ---

TEXT, INIT = ["--source-text"], ["--init", "start"]
OTHER = {
    "label": ([], ["--label", "sentiment"], "with --label label, not sentiment"),
    "labels": ([], ["--labels", "2"], "with --labels auto, not 2"),
    "label_range": (
        ["--label", "sentiment"],
        ["--label-range", "-5", "5"],
        "without --label-range, not with --label-range -5 5",
    ),
    "label_map": ([], ["--label-map", "map.csv"], "without --label-map, not with --label-map"),
    "target": ([], ["--target", "face"], "with --target audio,face, not face"),
    "init": ([], INIT, "without --init, not with --init start"),
    "pull": (INIT, ["--pull", "2"], "with --pull 1.0, not 2.0"),
    "tune_encoders": (INIT, ["--tune-encoders", "2"], "with --tune-encoders 0, not 2"),
    "source_text": ([], TEXT, "without --source, not with --source text"),
    "source": (["--target", "face"], ["--source", "audio"], "not with --source audio"),
    "text_corpus": (
        ["--text-corpus", "a.csv"],
        ["--text-corpus", "b.csv"],
        "with --text-corpus a.csv, not b.csv",
    ),
    "text_encoder": (TEXT, ["--text-encoder", "tfidf"], "with --text-encoder auto, not tfidf"),
    "alpha": ([], ["--alpha", "2"], "with --alpha 1.0, not 2.0"),
    "beta": (TEXT, ["--beta", "2"], "with --beta 1.0, not 2.0"),
    "gamma": (TEXT, ["--gamma", "2"], "with --gamma 0.0, not 2.0"),
    "schedule": (TEXT, ["--schedule", "ramp"], "with --schedule constant, not ramp"),
    "cross_fit": (TEXT, ["--cross-fit", "2"], "with --cross-fit 0, not 2"),
    "transfer": (TEXT, ["--transfer", "distil"], "with --transfer hmtl, not distil"),
    "scale_beta": (TEXT, ["--no-scale-beta"], "with --scale-beta, not with --no-scale-beta"),
    "baseline": (TEXT, ["--no-baseline"], "with --baseline, not with --no-baseline"),
    "fusion": ([], ["--fusion", "concat"], "with --fusion hmtl, not concat"),
    "fusion_beta": (
        ["--fusion", "multiplicative"],
        ["--fusion-beta", "2"],
        "with --fusion-beta 1.0, not 2.0",
    ),
    "fusion_original": (
        ["--fusion", "multiplicative"],
        ["--fusion-original"],
        "without --fusion-original, not with",
    ),
    "fbp_factors": (
        ["--fusion", "fbp"],
        ["--fbp-factors", "2"],
        "with --fbp-factors 4, not 2",
    ),
    "fbp_outputs": (
        ["--fusion", "fbp"],
        ["--fbp-outputs", "8"],
        "with --fbp-outputs 32, not 8",
    ),
    "segments": (["--fusion", "avef"], ["--segments", "3"], "with --segments 4, not 3"),
    "rank": (["--fusion", "lmf"], ["--rank", "2"], "with --rank 4, not 2"),
    "attention_scale": ([], ["--attention-scale", "0.9"], "with --attention-scale 0.5, not 0.9"),
    "patience": ([], ["--patience", "3"], "without --patience, not with --patience 3"),
    "batch": ([], ["--batch", "5"], "with --batch 16, not 5"),
    "learning_rate": ([], ["--learning-rate", "0.1"], "with --learning-rate 0.001, not 0.1"),
    "weight_decay": ([], ["--weight-decay", "0.1"], "with --weight-decay 0.0, not 0.1"),
    "dropout": ([], ["--dropout", "0.1"], "with --dropout 0.4, not 0.1"),
    "input_dropout": ([], ["--input-dropout", "0.1"], "with --input-dropout 0.0, not 0.1"),
    "modality_dropout": ([], ["--modality-dropout", "0.1"], "with --modality-dropout 0.0, not 0.1"),
    "label_smoothing": ([], ["--label-smoothing", "0.1"], "with --label-smoothing 0.0, not 0.1"),
    "balance": ([], ["--no-balance"], "with --balance, not with --no-balance"),
    "augment": ([], ["--no-augment"], "with --augment, not with --no-augment"),
    "select": ([], ["--select", "auc"], "with --select auto, not auc"),
    "check": (["--no-check"], ["--check"], "with --no-check, not with --check"),
    "split_by": ([], ["--split-by", "video"], "with --split-by speaker, not video"),
    "seeds": ([], ["--seeds", "2"], "with --seeds 1, not 2"),
    "seed": ([], ["--seed", "2"], "with --seed 0, not 2"),
}
"""By parameter of avsent train: options of a run, one that makes it another run, and how the
message names the difference."""
SAME = {"output", "data", "skip_broken", "cache", "device", "fresh", "quiet", "debug"}
"""Parameters that change no setting; what they change in the data, its content tells."""


def test_every_option_is_known_here() -> None:
    """A new option of avsent train belongs into OTHER or SAME, and into run_folder.OPTIONS."""
    command: Any = typer.main.get_command(app)
    names = {parameter.name for parameter in command.commands["train"].params}
    assert names == {*OTHER, *SAME, "epochs"}


@pytest.mark.parametrize("name", OTHER)
def test_the_message_names_the_option(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "_train", interrupted)
    before, other, told = OTHER[name]
    raw = INIT[0] in (*before, *other) or name == "attention_scale"
    feature_file(tmp_path / "data.npz", raw=raw, classes=POLARITIES[::2])
    if raw:
        small_models.save(tmp_path / "start", modalities=MODALITIES, labels=POLARITIES)
    texts = "".join(
        f"{word} {n},{label}\n"
        for n in range(9)
        for word, label in zip("ab", POLARITIES[::2], strict=True)
    )
    for text_corpus in ("a.csv", "b.csv"):
        (tmp_path / text_corpus).write_text(f"text,label\n{texts}")
    (tmp_path / "map.csv").write_text("value,label\nnegative,negative\npositive,positive\n")
    run = ["train", "data.npz", "-o", "out", "--quiet", *before]
    assert main(run) == 130
    assert main(run) == 130
    kept = files(tmp_path / "out")
    capsys.readouterr()
    assert main([*run, *other]) == 2
    line = capsys.readouterr().err.splitlines()[0]
    start = f"avsent: error: out holds a run {told}"
    assert line.startswith(start) or (told.startswith("not") and told in line), line
    assert line.endswith("; give another -o, or --fresh to start again")
    assert files(tmp_path / "out") == kept


def texts(*words: str) -> tuple[TextItem, ...]:
    return tuple(TextItem(w, {"label": POLARITIES[2 * (n % 2)]}) for n, w in enumerate(words))


def scaled(low: float) -> Corpus:
    return dataclasses.replace(small_corpus(), scale=LabelScale(low, 3))


CORPUS = small_corpus()
TAUGHT = small_settings(transfer=TEXT_SOURCE)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({}, {"corpus": small_corpus(seed=1)}, "with other utterances, speakers, labels, texts or"),
        ({}, {"corpus": changed(CORPUS, {"v0": {"speaker": "s"}})}, "with other utterances, spea"),
        ({}, {"corpus": changed(CORPUS, {"v0": {"audio": None}})}, "with data of other content"),
        ({}, {"corpus": dataclasses.replace(CORPUS, name="b")}, "with the data 'tiny', not 'b'"),
        (
            {"corpus": scaled(-3)},
            {"corpus": scaled(-4)},
            "with --label-range -3 3, not -4 3;",
        ),
        (
            {"settings": TAUGHT, "texts": texts(*"abcdefghij"), "texts_name": "t.csv"},
            {"texts": texts(*"abcdefghik")},
            "with other texts in --text-corpus",
        ),
        (
            {"settings": TAUGHT, "texts": texts(*"abcdefghij"), "texts_name": "t.csv"},
            {"texts": texts(*"abcdefghijk")},
            "with 10 texts in --text-corpus, not 11",
        ),
        ({}, {"seeds": (0, 1)}, "with --seeds 1, not 2"),
        ({}, {"settings": small_settings(clip=2.0)}, "with settings.optimiser.clip 5.0, not 2.0"),
    ],
)
def test_the_message_says_what_changed(
    before: dict[str, Any], now: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "out", hooks=Hooks(on_epoch=stopper(1)), **before)
    kept = files(tmp_path / "out")
    with pytest.raises(UsageError, match=f"out holds a run {re.escape(told)}.*--fresh"):
        run_small(tmp_path / "out", **{**before, **now})
    assert files(tmp_path / "out") == kept


def test_a_run_without_digests_of_labels_and_texts_resumes(tmp_path: Path) -> None:
    """Earlier versions did not keep them."""
    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "out", hooks=Hooks(on_epoch=stopper(1)))
    config = read(tmp_path / "out/config.json")
    for name in ("rows_sha256", "texts_sha256"):
        del config["data"][name]
    (tmp_path / "out/config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="with data of other content"):
        run_small(tmp_path / "out", small_corpus(seed=1))
    run_small(tmp_path / "out")


# --- another number of epochs ---

FIRST, MORE = 4, 7


def same_model(one: Path, other: Path) -> bool:
    return (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def untimed(metrics: Path) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0} for line in lines_of(metrics)]


def patient(**settings: Any) -> Callable[[int], Any]:
    """Settings of the command line by number of epochs: without --patience it is that number."""
    return lambda epochs: small_settings(**{"epochs": epochs, "patience": epochs, **settings})


@pytest.mark.parametrize(
    ("settings_of", "options"),
    [
        (patient(), {}),
        (patient(label="sentiment"), {"seeds": (0, 1)}),
        (patient(patience=2, learning_rate=0.05), {}),
        (patient(transfer=TEXT_SOURCE, learning_rate=0.02), {"baseline": True}),
        (patient(transfer={**TEXT_SOURCE, "cross_fit": 2}), {}),
        (patient(target=("face",), transfer={"source": "audio"}, fusion="concat"), {}),
        # Nothing is transferred, so the weights' schedule changes nothing.
        (patient(transfer={"decoder": 0, "adversarial": 0, "schedule": "decay"}), {}),
    ],
)
@pytest.mark.parametrize("stop", [None, 2])
def test_more_epochs_give_the_model_of_an_uninterrupted_run(
    settings_of: Callable[[int], Any], options: dict[str, Any], stop: int | None, tmp_path: Path
) -> None:
    """Of a finished run, and of one that was interrupted."""
    whole = run_small(tmp_path / "whole/out", settings=settings_of(MORE), **options)
    out = tmp_path / "out"
    if stop is None:
        run_small(out, settings=settings_of(FIRST), **options)
    else:
        with pytest.raises(KeyboardInterrupt):
            run_small(
                out, settings=settings_of(FIRST), hooks=Hooks(on_epoch=stopper(stop)), **options
            )
    warned: list[str] = []
    said: list[str] = []
    hooks = Hooks(warn=warned.append, say=said.append)
    assert run_small(out, settings=settings_of(MORE), hooks=hooks, **options) == whole
    assert same_model(out, tmp_path / "whole/out")
    assert said[0] == f"taking up the run in {out}, with 7 epochs instead of 4"
    assert warned == []
    for name in ("config.json", "checkpoint/config.json", "checkpoint/CARD.md"):
        assert (out / name).read_text() == (tmp_path / "whole/out" / name).read_text()
    for log in out.glob("seed-*/metrics.jsonl"):
        assert untimed(log) == untimed(tmp_path / "whole" / log.relative_to(tmp_path))
    assert run_small(out, settings=settings_of(MORE), **options) == whole


@pytest.fixture
def source_judged_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[int]]:
    """Makes each further epoch of a text source better than all before, or none; the list gets the
    number of each epoch that is trained."""
    trained: list[int] = []
    one_epoch, validation = trainer.one_epoch, trainer.validation

    def counted(*arguments: Any) -> dict[str, float]:
        trained.append(arguments[3])
        return one_epoch(*arguments)

    def judge(better: bool) -> list[int]:
        def judged(model: Any, *arguments: Any) -> tuple[float, dict[str, float]]:
            value, measured = validation(model, *arguments)
            if model.config.modalities == ("text",):
                # Nothing is trained yet where a start is judged.
                value = (trained[-1] if better else -trained[-1]) if trained else -1e9
            return value, measured

        monkeypatch.setattr(trainer, "validation", judged)
        return trained

    monkeypatch.setattr(trainer, "one_epoch", counted)
    return judge


@pytest.mark.parametrize(("better", "epochs"), [(False, 6), (True, 3 + MORE)])
def test_the_target_starts_again_if_its_source_changes(
    better: bool,
    epochs: int,
    source_judged_as: Callable[[bool], list[int]],
    tmp_path: Path,
) -> None:
    trained = source_judged_as(better)
    settings_of = patient(transfer=TEXT_SOURCE)
    run_small(tmp_path / "whole", settings=settings_of(MORE))
    run_small(tmp_path / "out", settings=settings_of(FIRST))
    trained.clear()
    # Killed after the source's last epoch: its state is all that tells.
    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "out", settings=settings_of(MORE), hooks=Hooks(on_epoch=stopper(MORE)))
    run_small(tmp_path / "out", settings=settings_of(MORE))
    assert len(trained) == epochs
    assert same_model(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize(
    ("corpus", "settings_of", "what"),
    [
        (small_corpus(raw=True, speakers=4), patient(), "the learning rate"),
        (
            small_corpus(),
            patient(transfer={**TEXT_SOURCE, "schedule": "decay"}),
            "--schedule decay",
        ),
        (
            small_corpus(raw=True, speakers=4),
            patient(target=("face",), transfer={**TEXT_SOURCE, "schedule": "ramp"}, batch_videos=1),
            "the learning rate and --schedule ramp",
        ),
    ],
)
def test_what_follows_the_number_of_epochs_is_said(
    corpus: Corpus,
    settings_of: Callable[[int], Any],
    what: str,
    source_judged_as: Callable[[bool], list[int]],
    tmp_path: Path,
) -> None:
    out, warned = tmp_path / "out", list[str]()
    source_judged_as(False)
    run_small(tmp_path / "whole", corpus, settings_of(3))
    run_small(out, corpus, settings_of(2))
    hooks = Hooks(warn=warned.append)
    stopped = dataclasses.replace(hooks, on_epoch=stopper(3))
    with pytest.raises(KeyboardInterrupt):
        run_small(out, corpus, settings_of(3), hooks=stopped)
    run_small(out, corpus, settings_of(3), hooks=hooks)
    assert warned == [
        f"{what} of the epochs done was that of 2 epochs, so the model may not be that of 3 epochs "
        "from the start; --fresh trains that one"
    ]
    assert not same_model(out, tmp_path / "whole")
    assert read(out / "config.json")["earlier_epochs"] == [2]
    assert "- Begun with 2 epochs, which" in (out / "checkpoint/CARD.md").read_text()
    assert "- Begun with" not in (tmp_path / "whole/checkpoint/CARD.md").read_text()
    run_small(out, corpus, settings_of(4), hooks=hooks)
    assert read(out / "config.json")["earlier_epochs"] == [2, 3]


def test_fewer_epochs(tmp_path: Path) -> None:
    """As many as are done, at least."""
    settings_of = patient(transfer=TEXT_SOURCE)
    run_small(tmp_path / "whole", settings=settings_of(FIRST))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_small(out, settings=settings_of(MORE), hooks=Hooks(on_epoch=stopper(FIRST)))
    kept = files(out)
    refused = "out holds a run of 4 epochs, more than --epochs 3; give another -o, or --fresh"
    with pytest.raises(UsageError, match=refused):
        run_small(out, settings=settings_of(3))
    assert files(out) == kept
    run_small(out, settings=settings_of(FIRST))
    assert same_model(out, tmp_path / "whole")
    with pytest.raises(UsageError, match=refused):
        run_small(out, settings=settings_of(3))
    run_small(out, settings=settings_of(3), fresh=True)
    assert read(out / "seed-0/evaluation.json")["epochs"] == 3


def test_the_model_stays_until_the_longer_run_is_finished(tmp_path: Path) -> None:
    settings_of, out = patient(), tmp_path / "out"
    run_small(out, settings=settings_of(FIRST))
    before = (out / WEIGHTS).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run_small(out, settings=settings_of(MORE), hooks=Hooks(on_epoch=stopper(MORE - 1)))
    assert not (out / "summary.json").exists()
    assert (out / WEIGHTS).read_bytes() == before
    with pytest.raises(UsageError, match="holds a run of 6 epochs, more than --epochs 4"):
        run_small(out, settings=settings_of(FIRST))


def test_more_epochs_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = feature_file(tmp_path / "tiny.npz")

    def train(out: str, epochs: int, *options: str) -> str:
        command = ["train", str(data), "--source-text", "--no-scale-beta"]
        command += ["-o", str(tmp_path / out)]
        assert main([*command, "--epochs", str(epochs), *options]) in (0, 2)
        return capsys.readouterr().err

    train("whole/out", 8)
    train("out", 6)
    said = train("out", 8)
    assert f"avsent: taking up the run in {tmp_path / 'out'}, with 8 epochs instead of 6\n" in said
    assert not [line for line in said.splitlines() if "warning" in line and "labelled" not in line]
    assert same_model(tmp_path / "out", tmp_path / "whole/out")
    assert "out holds a run of 8 epochs, more than --epochs 6; give another" in train("out", 6)
    assert "out holds a run without --patience, not with --patience 9" in train(
        "out", 10, "--patience", "9"
    )
    assert "out holds a run with --dropout 0.4, not 0.3" in train("out", 10, "--dropout", "0.3")
    cycled = train("decay", 2, "--schedule", "decay")
    cycled = train("decay", 3, "--schedule", "decay")
    assert "avsent: warning: --schedule decay of the epochs done was that of 2 epochs, so" in cycled
    assert "warning" not in train("decay", 4, "--schedule", "decay", "--quiet")
