"""Checkpoints: a saved one is loaded unchanged, and a damaged one is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import EXPERTS, flip
from small_models import save as save_hostile_checkpoints

import avsent.model.checkpoint
from avsent.errors import CheckpointError, OutputError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.voice import AudioConfig
from avsent.model.checkpoint import (
    MAX_LAYER_SIZE,
    MAX_WEIGHTS_BYTES,
    WEIGHTS_FILE,
    WHISPER_FILE,
    WHISPER_PREFIX,
    Calibration,
    load_checkpoint,
    save_checkpoint,
)
from avsent.model.folders import CONFIG_FILE, shipped_folder, shipped_names
from avsent.model.index import INDEX_FILE, read_index, write_index
from avsent.model.networks import config as sizes
from avsent.model.networks.config import ContextConfig, TargetConfig, VectorSizes
from avsent.model.networks.target import TargetModel, Utterances
from avsent.schema import MAX_CONFIG_BYTES

SMALL = sizes.TargetConfig(
    audio=sizes.AudioEncoderConfig(mel_bands=32, channels=(4, 4, 8), attention=8, representation=8),
    face=sizes.FaceEncoderConfig(hidden=(16,), attention=8, representation=8),
    context=sizes.ContextConfig(first_gru=4, dense=8, second_gru=4, classifier=8),
)
FEATURES = FeatureConfig(audio=AudioConfig(mel_bands=32, floor_db=40.0))
CALIBRATION = Calibration(temperature=1.25, log_prior=(0.1, -0.2, 0.0))

Config = dict[str, Any]


def save(folder: Path, seed: int = 0) -> TargetModel:
    torch.manual_seed(seed)
    model = TargetModel(SMALL)
    about = {"name": "small", "licence": "MIT"}
    save_checkpoint(folder, model, **about, features=FEATURES, calibration=CALIBRATION)
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "small")
    return tmp_path / "small"


def logits(model: TargetModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sound, faces = (torch.randn(*s, generator=generator) for s in ((3, 32, 40), (3, 5, 51, 2)))
    with torch.inference_mode():
        audio, _ = model.encoder("audio")(sound, torch.tensor([40, 40, 20]))
        face, _ = model.encoder("face")(faces, torch.ones(3, 5, dtype=torch.bool))
        there = torch.ones(1, 3, dtype=torch.bool)
        values = {"audio": audio[None], "face": face[None]}
        present = {"audio": there, "face": there}
        return model(Utterances(values, present, torch.tensor([3]))).logits


def edit(folder: Path, change: Callable[[Config], object]) -> None:
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def resign(folder: Path) -> None:
    """Make the digest right again."""
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    edit(folder, lambda config: config.update(weights_sha256=digest))


def refusal(checkpoint: Path | str) -> str:
    """The one line with which it is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(checkpoint)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is saved comes back --------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "small"
    model, loaded = save(folder), load_checkpoint(folder)
    assert torch.equal(logits(loaded.model), logits(model))
    assert not loaded.model.training
    config = loaded.config
    assert (config.name, config.licence, config.model) == ("small", "MIT", SMALL)
    assert (config.features, config.calibration) == (FEATURES, CALIBRATION)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_saving_again_replaces(folder: Path) -> None:
    second = save(folder, seed=1)
    assert torch.equal(logits(load_checkpoint(folder).model), logits(second))
    assert not list(folder.glob(".*"))


def test_a_file_of_the_folder_names_it(folder: Path) -> None:
    for path in (folder, str(folder), folder / CONFIG_FILE, folder / WEIGHTS_FILE):
        assert load_checkpoint(path).config.name == "small"


def test_the_shipped_default() -> None:
    assert "default" in shipped_names()
    loaded = load_checkpoint()
    weights = shipped_folder() / "default" / WEIGHTS_FILE
    assert loaded.config.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert loaded.config.model.labels == ("negative", "neutral", "positive")
    features = loaded.config.features
    assert (features.face, features.audio.mel_bands) == (FeatureConfig().face, 80)
    assert loaded.config.licence
    assert all(tensor.isfinite().all() for tensor in loaded.model.state_dict().values())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file"):
        save(tmp_path / "file" / "small")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_save_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).mkdir()
    with pytest.raises(OutputError):
        save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG_FILE]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A larger file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_weights_that_cannot_be_written_leave_the_old_checkpoint(tmp_path: Path) -> None:
    with files_of_at_most(1000), pytest.raises(OutputError, match=f"write .*{WEIGHTS_FILE}: "):
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    save(tmp_path)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_of_at_most(1000), pytest.raises(OutputError):
        save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


# --- damage to the weights -----------------------------------------------------------------------


@pytest.mark.parametrize("where", [0.0, 0.02, 0.5, 0.999])
def test_one_changed_byte(folder: Path, where: float) -> None:
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    assert refusal(folder).startswith(f"{path}: damaged, its SHA-256 is not the one in config")


def test_cut_off_or_empty_or_missing_weights(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    whole = path.read_bytes()
    for data in (whole[:-1], whole[: len(whole) // 2], whole[:4], b""):
        path.write_bytes(data)
        assert "damaged" in refusal(folder)
        resign(folder)
        assert "does not fit config.json" in refusal(folder)
    path.unlink()
    gone = f"{path}: cannot be read (No such file or directory); restore the checkpoint"
    assert refusal(folder) == gone
    path.mkdir()
    assert f"{path}: cannot be read" in refusal(folder)


CHANGES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "shape": lambda t: t.update({"head.classifier.0.bias": torch.zeros(9)}),
    "transposed": lambda t: t.update({"head.classifier.3.weight": torch.zeros(8, 3)}),
    "missing": lambda t: t.pop("head.classifier.0.weight"),
    "more": lambda t: t.update(extra=torch.zeros(1)),
    "renamed": lambda t: t.update(other=t.pop("head.classifier.0.weight")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_weights_of_another_network(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    resign(folder)
    assert refusal(folder).startswith(f"{folder / WEIGHTS_FILE}: does not fit config.json; ")


# --- damage to the configuration -----------------------------------------------------------------


def put(path: str, value: object) -> Callable[[Config], None]:
    """Set the entry at the dotted ``path``."""
    *parents, last = path.split(".")

    def change(config: Config) -> None:
        for name in parents:
            config = config[name]
        config[last] = value

    return change


CONFIGS: list[tuple[str, object, str]] = [
    ("colour", 1, "config has the unknown key 'colour'"),
    ("model.audio.colour", 1, "config.model.audio has the unknown key 'colour'"),
    ("name", 5, "config.name should be str, not int"),
    ("model.context.dense", "64", "config.model.context.dense should be int, not str"),
    ("model.labels", ["a", 2, "c"], "config.model.labels[1] should be str, not int"),
    ("calibration.temperature", float("nan"), "config.calibration.temperature is not a finite"),
    ("calibration.temperature", 0, "the temperature is not positive"),
    ("calibration.unsure_margin", 1, "the unsure_margin is not within 0 and 1"),
    ("calibration.unsure_margin", -0.01, "the unsure_margin is not within 0 and 1"),
    ("calibration.log_prior", [0.5, 0.5], "log_prior does not have one number per label"),
    ("model.labels", ["a"], "the labels are not two or more different names"),
    ("model.labels", ["a", "b", "a"], "the labels are not two or more different names"),
    ("model.face.points", 52, "network and features differ in landmark points"),
    ("model.audio.mel_bands", 33, "network and features differ in mel bands"),
    *(
        (f"model.fusion.{name}", 0, "a layer size is not within 1 and")
        for name in ("factors", "outputs", "segments", "rank")
    ),
    ("model.audio.channels", [], "the number of layers is out of range"),
    ("model.face.hidden", [4] * 17, "the number of layers is out of range"),
    *(
        (f"model.{name}", value, f"a layer size is not within 1 and {MAX_LAYER_SIZE}")
        for value in (0, -5, MAX_LAYER_SIZE + 1, 10**30)
        for name in ("context.first_gru", "audio.representation", "face.attention")
    ),
    ("model.audio.channels", [8, 10**9], f"a layer size is not within 1 and {MAX_LAYER_SIZE}"),
    ("model.labels", [f"{k}" for k in range(5000)], "a layer size is not within 1 and"),
]


@pytest.mark.parametrize(("path", "value", "why"), CONFIGS)
def test_a_wrong_configuration(folder: Path, path: str, value: object, why: str) -> None:
    edit(folder, put(path, value))
    message = refusal(folder)
    assert message.startswith(f"{folder / CONFIG_FILE}: damaged, {why}")
    assert message.endswith("restore the checkpoint")


UNUSABLE: list[tuple[str, object]] = [
    ("calibration.temperature", 10**400),  # OverflowError in structure.build
    ("features.audio.hop_samples", 0),
    ("features.audio.fft_samples", 10**12),
    ("features.audio.window_samples", 4096),  # longer than fft_samples
    ("features.audio.sample_rate_hz", 8000),  # sound always comes at 16 kHz
]


@pytest.mark.parametrize(("path", "value"), UNUSABLE)
def test_features_that_could_not_be_made(folder: Path, path: str, value: object) -> None:
    edit(folder, put(path, value))
    refusal(folder)


BIG = b'{"format": "avsent-checkpoint/1", "name": "' + b"x" * MAX_CONFIG_BYTES + b'"}'
TEXTS = [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 50_000, b'{"a": 1' + b"9" * 5000, BIG]


@pytest.mark.parametrize("text", TEXTS, ids=[repr(text[:12]) for text in TEXTS])
def test_a_configuration_that_is_none(folder: Path, text: bytes) -> None:
    (folder / CONFIG_FILE).write_bytes(text)
    message = refusal(folder)
    assert message.startswith(f"{folder / CONFIG_FILE}: damaged, ")
    assert message.endswith("; restore the checkpoint")
    assert len(message) < len(str(folder)) + 200


@pytest.mark.parametrize("version", ["avsent-checkpoint/2", "", None, 1, "x\ny"])
def test_another_version(folder: Path, version: object) -> None:
    edit(folder, put("format", version))
    assert refusal(folder).startswith(f"{folder / CONFIG_FILE}: its format is {str(version)!r}")


@pytest.mark.parametrize("name", ["name", "weights_sha256"])
def test_every_key_without_a_default_is_needed(folder: Path, name: str) -> None:
    edit(folder, lambda config: config.pop(name))
    assert f"config lacks the key {name!r}" in refusal(folder)


# --- not a checkpoint at all ---------------------------------------------------------------------


def test_unknown_names_and_folders_that_are_none(tmp_path: Path) -> None:
    for name in ("no-such", str(tmp_path / "nowhere"), "a\0b"):
        message = refusal(name)
        assert message.startswith(f"unknown checkpoint {name!r}; shipped: ")
        assert "default" in message
        assert message.endswith("or give the path of a checkpoint folder")
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        assert refusal(path).startswith(f"{path}: not a checkpoint, it holds no config.json; give")


def test_the_folder_of_an_unfinished_training_run(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / CONFIG_FILE).write_text(json.dumps({"format": "avsent-run/1", "seeds": [0]}))
    for path in (run, run / CONFIG_FILE):
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path)
        assert caught.value.exit_code == 4
        assert str(caught.value) == (
            f"{run}: this training run has not finished; resume it with the 'avsent train' "
            f"command that began it (-o {run})"
        )
    folder.rename(run / "checkpoint")
    assert load_checkpoint(run).config.name == "small"


def test_an_endless_name() -> None:
    refusal("a" * 5000)


@pytest.fixture
def folder_hostile_checkpoints(tmp_path: Path) -> Path:
    save_hostile_checkpoints(tmp_path / "small")
    return tmp_path / "small"


def signed(folder: Path, **changes: Any) -> None:
    """The configuration, changed and with the digest of the weights."""
    config = json.loads((folder / CONFIG_FILE).read_text())
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    (folder / CONFIG_FILE).write_text(json.dumps({**config, "weights_sha256": digest, **changes}))


def refusal_hostile_checkpoints(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_weights_that_no_network_learnt(value: float, folder_hostile_checkpoints: Path) -> None:
    weights = load_file(folder_hostile_checkpoints / WEIGHTS_FILE)
    next(w for w in weights.values() if w.is_floating_point()).view(-1)[0] = value
    save_file(weights, folder_hostile_checkpoints / WEIGHTS_FILE)
    signed(folder_hostile_checkpoints)
    assert "does not fit" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


def test_weights_of_another_type(folder_hostile_checkpoints: Path) -> None:
    weights = load_file(folder_hostile_checkpoints / WEIGHTS_FILE)
    small = {name: value.to(torch.float8_e4m3fn) for name, value in weights.items()}
    save_file(small, folder_hostile_checkpoints / WEIGHTS_FILE)
    signed(folder_hostile_checkpoints)
    assert "does not fit" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


def test_a_file_of_a_terabyte_is_not_read(folder_hostile_checkpoints: Path) -> None:
    with (folder_hostile_checkpoints / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(2**40)  # takes no room on the disk
    assert "far too large" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


def test_a_header_of_gigabytes(folder_hostile_checkpoints: Path) -> None:
    data = (folder_hostile_checkpoints / WEIGHTS_FILE).read_bytes()
    (folder_hostile_checkpoints / WEIGHTS_FILE).write_bytes(
        (2**40).to_bytes(8, "little") + data[8:]
    )
    signed(folder_hostile_checkpoints)
    assert "far too large" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_waited_for(folder_hostile_checkpoints: Path) -> None:
    (folder_hostile_checkpoints / WEIGHTS_FILE).unlink()
    os.mkfifo(folder_hostile_checkpoints / WEIGHTS_FILE)
    assert "not a file" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


def test_a_network_that_would_fill_the_memory(folder_hostile_checkpoints: Path) -> None:
    config = json.loads((folder_hostile_checkpoints / CONFIG_FILE).read_text())
    config["model"]["context"].update(first_gru=4096, dense=4096, second_gru=4096, classifier=4096)
    signed(folder_hostile_checkpoints, model=config["model"])
    assert "does not fit" in refusal_hostile_checkpoints(folder_hostile_checkpoints)
    assert MAX_WEIGHTS_BYTES < 2**30


@pytest.mark.parametrize(
    "calibration", [{"temperature": 1e-300}, {"deviation": 1e300}, {"log_prior": [1e300, 0.0]}]
)
def test_a_calibration_out_of_range(
    calibration: dict[str, Any], folder_hostile_checkpoints: Path
) -> None:
    signed(folder_hostile_checkpoints, calibration=calibration)
    assert "out of range" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


def test_a_spectrogram_that_would_fill_the_memory(folder_hostile_checkpoints: Path) -> None:
    config = json.loads((folder_hostile_checkpoints / CONFIG_FILE).read_text())
    config["features"]["audio"].update(hop_samples=1)
    signed(folder_hostile_checkpoints, features=config["features"])
    assert "the hop is less than" in refusal_hostile_checkpoints(folder_hostile_checkpoints)


def test_an_index_with_a_size_of_thousands_of_digits(folder_hostile_checkpoints: Path) -> None:
    write_index(folder_hostile_checkpoints.parent)
    path = folder_hostile_checkpoints.parent / INDEX_FILE
    index = json.loads(path.read_text())
    index["models"][0]["bytes"] = 10**400
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="a size is out of range"):
        read_index(folder_hostile_checkpoints.parent)


def vectors_model(folder: Path, mean: float, deviation: float) -> None:
    """A model of ready-made vectors, of which one dimension has this scale."""
    model = TargetModel(
        TargetConfig(
            modalities=("audio",),
            vectors=VectorSizes(audio=3),
            context=ContextConfig(first_gru=4, dense=4, second_gru=4, classifier=4),
        )
    )
    scale = model.scale("audio")
    scale.mean[1], scale.deviation[1] = mean, deviation
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name="vectors", licence="MIT", **about)


@pytest.mark.parametrize(("mean", "deviation"), [(7e7, 3e9), (0.0, math.inf)])
def test_the_scale_of_honest_data_may_be_large_or_unknown(
    mean: float, deviation: float, tmp_path: Path
) -> None:
    """A feature in hertz or bytes; a feature that nobody knew in training."""
    vectors_model(tmp_path, mean, deviation)
    assert load_checkpoint(tmp_path).model.scale("audio").deviation[1] == deviation


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [(math.nan, 1.0), (math.inf, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, math.nan)],
)
def test_a_scale_that_no_data_have(mean: float, deviation: float, tmp_path: Path) -> None:
    vectors_model(tmp_path, mean, deviation)
    with pytest.raises(CheckpointError, match="restore the checkpoint"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_from_before_decisions_were_unsure(folder: Path) -> None:
    edit(folder, lambda config: (config.pop("trained_on"), config["calibration"].popitem()))
    assert "unsure_margin" not in (folder / CONFIG_FILE).read_text()
    config = load_checkpoint(folder).config
    assert (config.calibration, config.trained_on) == (CALIBRATION, ())
    assert config.calibration.unsure_margin == 0.1


def test_a_checkpoint_from_before_low_rank_fusion(folder: Path) -> None:
    before = logits(load_checkpoint(folder).model)
    edit(folder, lambda config: config["model"]["fusion"].pop("rank"))
    assert torch.equal(logits(load_checkpoint(folder).model), before)


def test_margin_and_corpora_are_kept(tmp_path: Path) -> None:
    calibration = Calibration(unsure_margin=0.0)
    about = {"name": "x", "licence": "MIT", "trained_on": ("RAVDESS", "CREMA-D")}
    save_checkpoint(
        tmp_path, TargetModel(SMALL), features=FEATURES, calibration=calibration, **about
    )
    config = load_checkpoint(tmp_path).config
    assert config.calibration == calibration
    assert config.trained_on == ("RAVDESS", "CREMA-D")


# --- weights that checkpoints share --------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of experts, ``models/small``; Whisper's encoder comes with avsent, in another
    folder, ``shipped``."""
    torch.manual_seed(0)
    model = TargetModel(TargetConfig(experts=EXPERTS, context=SMALL.context))
    whisper = model.get_submodule(WHISPER_PREFIX.removesuffix(".")).state_dict()
    # Half precision, as it ships.
    (tmp_path / "shipped").mkdir()
    save_file({k: v.half() for k, v in whisper.items()}, tmp_path / "shipped" / WHISPER_FILE)
    loaded = load_file(tmp_path / "shipped" / WHISPER_FILE)
    model.load_state_dict({f"{WHISPER_PREFIX}{k}": v for k, v in loaded.items()}, strict=False)
    monkeypatch.setattr(avsent.model.checkpoint, "shipped_folder", lambda: tmp_path / "shipped")
    folder = tmp_path / "models" / "small"
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name="small", licence="MIT", **about)
    found = load_checkpoint(folder).model.state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    return folder


def test_a_checkpoint_does_not_hold_what_comes_with_avsent(shared: Path) -> None:
    assert not [key for key in load_file(shared / WEIGHTS_FILE) if key.startswith(WHISPER_PREFIX)]
    config = json.loads((shared / CONFIG_FILE).read_text())
    (part,) = config["shared"]
    assert (part["file"], part["prefix"]) == (WHISPER_FILE, WHISPER_PREFIX)


def test_another_whisper_is_saved_with_the_checkpoint(shared: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(shared)
    model = checkpoint.model
    with torch.no_grad():
        model.get_parameter(f"{WHISPER_PREFIX}positions")[0, 0] += 1
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    config = save_checkpoint(tmp_path / "own", model, name="own", licence="MIT", **about)
    assert config.shared == ()
    found = load_checkpoint(tmp_path / "own").model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("place", ["models/small", "models", "shipped"])
def test_where_shared_weights_are_found(shared: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "shipped" / WHISPER_FILE).rename(tmp_path / place / WHISPER_FILE)
    whole = load_checkpoint(shared).model
    assert whole.get_parameter(f"{WHISPER_PREFIX}conv1.weight").any()
    # Not by chance: with a changed byte, and without the file, it is refused in one line.
    file = tmp_path / place / WHISPER_FILE
    flip(file)
    assert refusal(shared).startswith(f"{file}: damaged, its SHA-256 is not the one in config")
    file.unlink()
    gone = f"{shared / WHISPER_FILE}: cannot be read (No such file or directory); restore the "
    assert refusal(shared) == f"{gone}checkpoint"


def test_of_several_files_the_right_one_is_taken(shared: Path, tmp_path: Path) -> None:
    (shared.parent / WHISPER_FILE).write_bytes(b"another")
    load_checkpoint(shared)
    (tmp_path / "shipped" / WHISPER_FILE).unlink()
    assert refusal(shared).startswith(f"{shared.parent / WHISPER_FILE}: ")


def test_votes_of_earlier_versions(shared: Path) -> None:
    """Checkpoints without any can be read, others cannot."""
    edit(shared, lambda config: config["model"].update(votes=[]))
    load_checkpoint(shared)
    edit(shared, lambda config: config["model"].update(votes=["x"]))
    assert "its experts vote" in refusal(shared)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "x/", "a\0b", "./x"]
)
def test_shared_weights_have_a_plain_file_name(shared: Path, name: str) -> None:
    edit(shared, lambda config: config["shared"][0].update(file=name))
    message = refusal(shared)
    assert message.startswith(f"{shared / CONFIG_FILE}: damaged, the file of shared weights is not")


def test_a_tensor_in_two_files(shared: Path, tmp_path: Path) -> None:
    tensors = load_file(shared / WEIGHTS_FILE)
    positions = torch.zeros(EXPERTS.whisper.positions, EXPERTS.whisper.size)
    save_file({**tensors, f"{WHISPER_PREFIX}positions": positions}, shared / WEIGHTS_FILE)
    resign(shared)
    assert refusal(shared).startswith(f"{shared / WEIGHTS_FILE}: does not fit config.json; ")
    # The same for a file that is named twice.
    save_file(tensors, shared / WEIGHTS_FILE)
    resign(shared)
    load_checkpoint(shared)
    edit(shared, lambda config: config["shared"].append(config["shared"][0]))
    assert "does not fit" in refusal(shared)


def test_shared_weights_of_another_network(shared: Path, tmp_path: Path) -> None:
    tensors = load_file(tmp_path / "shipped" / WHISPER_FILE)
    tensors["conv1.bias"] = torch.zeros(9)
    save_file(tensors, shared / WHISPER_FILE)
    digest = hashlib.sha256((shared / WHISPER_FILE).read_bytes()).hexdigest()
    edit(shared, lambda config: config["shared"][0].update(sha256=digest))
    assert "does not fit" in refusal(shared)
