"""Checkpoints: a folder with ``config.json``, ``model.safetensors`` and a card.

``config.json`` alone rebuilds the network and says how its features are made. Loading runs no code
from the folder. A checkpoint is untrusted input: sizes are checked before anything is allocated.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from avsent.errors import CheckpointError, OutputError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.face import POINTS
from avsent.extraction.features.voice import SIZE as PROSODY_SIZE
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.files import atomic_path, atomic_text, file_sha256, prepare_folder
from avsent.labels import MODALITIES, LabelScale
from avsent.model.folders import CONFIG_FILE, checkpoint_folder, shipped_folder
from avsent.model.networks import config as configs
from avsent.model.networks.config import TargetConfig
from avsent.model.networks.encoders import VectorEncoder
from avsent.model.networks.fusion import HEADS
from avsent.model.networks.target import TargetModel
from avsent.model.networks.whisper import WINDOW_FRAMES
from avsent.schema import read_json

FORMAT = "avsent-checkpoint/1"
WEIGHTS_FILE = "model.safetensors"
WHISPER_FILE = "whisper-base.safetensors"
WHISPER_PREFIX = "audio_encoder.whisper."
RESTORE = "restore the checkpoint"
MAX_WEIGHTS_BYTES = 512 * 1024**2
"""Our largest has 80 MB in memory. Also the limit of what a configuration may ask for."""
MAX_HEADER_BYTES = 4 * 1024**2
MAX_WEIGHT = 1e6  # a larger weight makes outputs infinite
WEIGHT_TYPES = {"F32", "F16", "BF16", "I64"}

MAX_FFT_SAMPLES = 8192
MAX_OVERLAP = 16
"""FFTs that a sample is in: the spectrogram of a long utterance must not fill the memory."""
MIN_AUDIO_BLOCKS = 3
"""The audio encoder halves time in its first three blocks; the attention's times rely on it."""
MAX_PIXEL_BLOCKS = 5  # more would halve a picture of 48 pixels to nothing
MAX_MEMBERS = 32
MAX_WHISPER_LAYERS = 32
MAX_SCALE, MAX_LOG_PRIOR = 1e4, 100.0
MODALITY_CHOICES = (("audio",), ("face",), MODALITIES, ("text",))
MAX_VECTOR = 65536
MAX_LAYER_SIZE = 4096
"""Limit of every size in a config: a damaged one must not allocate the machine's memory."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Probabilities are ``softmax(logits / temperature + log_prior)``.

    ``log_prior`` [C] shifts the classes: how common neutral is differs between corpora.
    ``deviation``: of a real-valued model's error, in units of the labels. ``unsure_margin``: a
    decision is unsure if its label leads the next one by less probability than this, in [0, 1).
    """

    temperature: float = 1.0
    log_prior: tuple[float, ...] = ()
    deviation: float = 1.0
    unsure_margin: float = 0.1


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """Weights that several checkpoints have in common: the tensors whose names begin with
    ``prefix``, kept without it in ``file``, in the folder of the checkpoint, in the one above, or
    in that of the models that come with avsent."""

    prefix: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Everything about a checkpoint but its weights."""

    format: str
    name: str
    weights_sha256: str
    licence: str = ""
    model: TargetConfig = field(default_factory=TargetConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    calibration: Calibration = field(default_factory=Calibration)
    label_scale: LabelScale | None = None
    """How the labels of the training data were read."""
    trained_on: tuple[str, ...] = ()
    """Names of corpora whose people it learnt from: figures on these say nothing about others."""
    shared: tuple[SharedWeights, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network in evaluation mode, on the CPU, and its configuration."""

    config: CheckpointConfig
    model: TargetModel


def load_config(checkpoint: str | Path) -> CheckpointConfig:
    """A checkpoint's configuration alone; see :func:`load_checkpoint`."""
    path = checkpoint_folder(checkpoint) / CONFIG_FILE
    return read_json(path, CheckpointConfig, _check_config, form=FORMAT, remedy=RESTORE)


def load_checkpoint(checkpoint: str | Path = "default") -> Checkpoint:
    """Load a shipped checkpoint by name, or any by the path of its folder. Raises CheckpointError
    if it is unknown, damaged or made for another version."""
    folder = checkpoint_folder(checkpoint)
    config = load_config(checkpoint)
    weights = folder / WEIGHTS_FILE
    files = [(weights, "", config.weights_sha256)]
    for part in config.shared:
        files.append((_shared_file(folder, part), part.prefix, part.sha256))
    for file, _, sha256 in files:
        try:
            _check_file(file)
            digest = file_sha256(file)
        except OSError as error:
            raise CheckpointError(
                f"{file}: cannot be read ({error.strerror}); {RESTORE}"
            ) from error
        if digest != sha256:
            raise CheckpointError(
                f"{file}: damaged, its SHA-256 is not the one in {CONFIG_FILE}; {RESTORE}"
            )
    try:
        # On the meta device nothing is allocated before the files are known to fit.
        with torch.device("meta"):
            _check_shapes([(file, prefix) for file, prefix, _ in files], TargetModel(config.model))
        model = TargetModel(config.model)
        state = {
            f"{prefix}{key}": value
            for file, prefix, _ in files
            for key, value in load_file(file).items()
        }
        model.load_state_dict(state)
        _check_values(model)
    except (SafetensorError, RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise CheckpointError(f"{weights}: does not fit {CONFIG_FILE}; {RESTORE}") from error
    return Checkpoint(config, model.eval())


def _shared_file(folder: Path, part: SharedWeights) -> Path:
    """The place of shared weights that holds the right ones; else one that holds others, or the
    folder of the checkpoint."""
    places = folder, folder.absolute().parent, shipped_folder()
    found = [place / part.file for place in places if (place / part.file).is_file()]
    if len(found) > 1:
        with contextlib.suppress(OSError):
            found = [one for one in found if file_sha256(one) == part.sha256] or found
    return found[0] if found else folder / part.file


def shared_weights(model: TargetModel) -> tuple[SharedWeights, ...]:
    """What a new checkpoint of ``model`` need not hold: Whisper's encoder, if it is the one that
    comes with avsent."""
    state, file = model.state_dict(), shipped_folder() / WHISPER_FILE
    own = {key: value for key, value in state.items() if key.startswith(WHISPER_PREFIX)}
    if not own or not file.is_file():
        return ()
    there = {f"{WHISPER_PREFIX}{key}": value for key, value in load_file(file).items()}
    if own.keys() != there.keys():
        return ()
    if not all(torch.equal(value.cpu(), there[key].to(value.dtype)) for key, value in own.items()):
        return ()
    return (SharedWeights(WHISPER_PREFIX, WHISPER_FILE, file_sha256(file)),)


def packed_weights(model: TargetModel, without: Sequence[SharedWeights] = ()) -> bytes:
    """The weights as the content of a safetensors file, ``without`` the shared ones."""
    prefixes = tuple(part.prefix for part in without)
    state = model.state_dict().items()
    return save({key: value.contiguous() for key, value in state if not key.startswith(prefixes)})


def save_checkpoint(
    folder: Path,
    model: TargetModel,
    *,
    name: str,
    licence: str,
    features: FeatureConfig,
    calibration: Calibration,
    label_scale: LabelScale | None = None,
    trained_on: tuple[str, ...] = (),
) -> CheckpointConfig:
    """Write ``model`` and its configuration, each file whole or not at all. Raises OutputError."""
    prepare_folder(folder)
    shared = shared_weights(model)
    places = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for target in places:
        if target.exists() and not target.is_file():
            raise OutputError(f"{target}: is in the way; give another folder")
    # The weights take their name first.
    with atomic_text(places[0]) as settings, atomic_path(places[1]) as weights:
        # Not written by safetensors, whose files only their owner may read.
        weights.write_bytes(packed_weights(model, shared))
        digest = file_sha256(weights)
        config = CheckpointConfig(
            *(FORMAT, name, digest, licence, model.config, features, calibration, label_scale),
            *(trained_on, shared),
        )
        settings.write(json.dumps(asdict(config), indent=2) + "\n")
        settings.flush()  # a full disk is noticed before the weights take their name
    return config


# --- checks of the configuration: each raises ValueError ------------------------------------------


def _check_config(config: CheckpointConfig) -> None:
    _check_sizes(config.model, config.features)
    for part in config.shared:
        # A name, so that a checkpoint cannot point at files elsewhere.
        name = part.file
        if name in ("", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError("the file of shared weights is not a plain file name")
    calibration = config.calibration
    for name in ("temperature", "deviation"):
        if getattr(calibration, name) <= 0:
            raise ValueError(f"the {name} is not positive")
        if not 1 / MAX_SCALE <= getattr(calibration, name) <= MAX_SCALE:
            raise ValueError(f"the {name} is out of range")
    if max(map(abs, calibration.log_prior), default=0.0) > MAX_LOG_PRIOR:
        raise ValueError("log_prior is out of range")
    if len(calibration.log_prior) not in (0, len(config.model.labels)):
        raise ValueError("log_prior does not have one number per label")
    if not 0 <= calibration.unsure_margin < 1:
        raise ValueError("the unsure_margin is not within 0 and 1")


def _check_sizes(model: TargetConfig, features: FeatureConfig) -> None:
    """Sizes within their ranges, and parts that do not contradict each other."""
    experts = model.experts
    fusion = model.fusion
    sizes = [len(model.labels), fusion.factors, fusion.outputs, fusion.segments, fusion.rank]
    parts: list[Any] = [model.context]
    if experts is None:
        parts += [model.audio, model.face]
    else:
        sizes += [experts.emotions, experts.polarities, experts.voice_attention]
        parts += [experts.still, experts.movement, experts.pixels]
        _check_experts(experts, features)
    _check_range("a layer size", sizes, MAX_LAYER_SIZE)
    _check_features(features)
    for part in parts:
        _check_part(part, features)
    if model.modalities not in MODALITY_CHOICES:
        raise ValueError("its modalities are none of those a model can have")
    if any(not 0 <= model.vectors.of(name) <= MAX_VECTOR for name in (*MODALITIES, "text")):
        raise ValueError("the size of a vector is out of range")
    if fusion.name not in HEADS:
        raise ValueError(f"there is no fusion {fusion.name!r}")
    if model.guard is not None:
        _check_guard(model.guard, model)
    if model.votes:
        raise ValueError("its experts vote, as in earlier versions")
    if len(set(model.labels)) != len(model.labels) or len(model.labels) < 2:
        raise ValueError("the labels are not two or more different names")


def _check_range(what: str, sizes: Sequence[int], most: int) -> None:
    if min(sizes) < 1 or max(sizes) > most:
        raise ValueError(f"{what} is not within 1 and {most}")


def _check_part(part: Any, features: FeatureConfig) -> None:
    """Whether a network has possible sizes, and those of its features. ``part``: its dataclass."""
    numbers = asdict(part)
    layers = numbers.get("channels", numbers.get("hidden", ()))
    sizes = [*layers, *(number for number in numbers.values() if type(number) is int)]
    _check_range("a layer size", sizes, MAX_LAYER_SIZE)
    least = MIN_AUDIO_BLOCKS if isinstance(part, configs.AudioEncoderConfig) else 0
    most = MAX_PIXEL_BLOCKS if isinstance(part, configs.PixelConfig) else 16
    if not least <= len(layers) <= most:
        raise ValueError("the number of layers is out of range")
    if not 0 <= part.dropout < 1:
        raise ValueError("a dropout is not within 0 and 1")
    if numbers.get("mel_bands", features.audio.mel_bands) != features.audio.mel_bands:
        raise ValueError("network and features differ in mel bands")
    if numbers.get("points", features.face.points) != features.face.points:
        raise ValueError("network and features differ in landmark points")


def _check_experts(experts: configs.ExpertsConfig, features: FeatureConfig) -> None:
    whisper = experts.whisper
    _check_range("a size of Whisper's encoder", astuple(whisper), MAX_LAYER_SIZE)
    if whisper.size % whisper.heads or not whisper.kept <= whisper.layers <= MAX_WHISPER_LAYERS:
        raise ValueError("the sizes of Whisper's encoder do not fit each other")
    if whisper.mel_bands != features.audio.mel_bands:
        raise ValueError("network and features differ in mel bands")
    if 2 * whisper.positions < WINDOW_FRAMES:
        raise ValueError("Whisper's encoder has too few positions")
    if experts.prosody != PROSODY_SIZE:
        raise ValueError("network and features differ in prosody")
    members = experts.audio_members, experts.face_members
    _check_range("a number of members", members, MAX_MEMBERS)
    polarity = experts.pixel_polarity
    if len(polarity) != experts.pixels.classes:
        raise ValueError("pixel_polarity has not one entry per class")
    if any(not -1 <= entry < experts.polarities for entry in polarity):
        raise ValueError("pixel_polarity names a polarity that is none")


def _check_guard(guard: configs.ModalityCheckConfig, model: TargetConfig) -> None:
    if model.modalities != MODALITIES:
        raise ValueError("a guard needs voice and face")
    sizes = guard.components, guard.basis, guard.neighbours
    _check_range("a size of the guard", sizes, MAX_LAYER_SIZE)
    if len(guard.farthest) != len(MODALITIES) or min(guard.farthest) <= 0:
        raise ValueError("the guard has not one positive distance per modality")
    if guard.ridge <= 0:
        raise ValueError("the ridge of the guard is not positive")


def _check_features(features: FeatureConfig) -> None:
    audio, face = features.audio, features.face
    if audio.sample_rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"the sample rate is not {SAMPLE_RATE_HZ} Hz")
    if not 1 <= audio.hop_samples <= audio.window_samples <= audio.fft_samples <= MAX_FFT_SAMPLES:
        raise ValueError("hop, window and FFT do not follow each other in size")
    if audio.fft_samples > MAX_OVERLAP * audio.hop_samples:
        raise ValueError(f"the hop is less than 1/{MAX_OVERLAP} of the FFT")
    if not 0 <= audio.lowest_hz < audio.highest_hz <= SAMPLE_RATE_HZ / 2:
        raise ValueError("the band of frequencies is empty or out of range")
    if audio.floor_db <= 0 or audio.trim_db <= 0:
        raise ValueError("a level in decibels is not positive")
    if face.points != POINTS:
        raise ValueError(f"faces have {POINTS} points")
    if not 0.01 <= face.analysis_rate_hz <= 1000:
        raise ValueError("the analysis rate is out of range")


# --- checks of the weights ------------------------------------------------------------------------


def _check_shapes(files: Sequence[tuple[Path, str]], model: TargetModel) -> None:
    """Raise ValueError if names, shapes or types in ``files`` (each with the prefix of its names)
    are not the model's, or it is too large."""
    expected = {key: [*value.shape] for key, value in model.state_dict().items()}
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size > MAX_WEIGHTS_BYTES:
        raise ValueError("the network is far too large")
    found: dict[str, list[int]] = {}
    for path, prefix in files:
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            shapes = {f"{prefix}{key}": list(part.get_shape()) for key, part in slices.items()}
            types = {part.get_dtype() for part in slices.values()}
        if shapes.keys() & found.keys() or not types <= WEIGHT_TYPES:
            raise ValueError("weights of another type, or twice")
        found.update(shapes)
    if found != expected:
        raise ValueError("names or shapes of the weights differ")


def _check_file(weights: Path) -> None:
    """Raise CheckpointError if this is no file, or too large to be read for its digest; OSError."""
    size = weights.stat().st_size
    if not weights.is_file():
        raise CheckpointError(f"{weights}: cannot be read (not a file); {RESTORE}")
    with weights.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size > MAX_WEIGHTS_BYTES or header > MAX_HEADER_BYTES:
        raise CheckpointError(f"{weights}: far too large, or no weights at all; {RESTORE}")


def _check_values(model: TargetModel) -> None:
    """Raise ValueError if a weight is not finite or far too large, or a scale is impossible."""
    scales = [module for module in model.modules() if isinstance(module, VectorEncoder)]
    # A scale is in the units of the user's features, however large; its deviation is infinite
    # in dimensions that were never observed.
    own = {id(value) for scale in scales for value in (scale.mean, scale.deviation)}
    for scale in scales:
        if not bool(scale.mean.isfinite().all()) or not bool((scale.deviation > 0).all()):
            raise ValueError("the scale of a modality is not one of data")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if id(value) in own or not value.is_floating_point():
            continue
        if not bool((value.abs() <= MAX_WEIGHT).all()):
            raise ValueError(f"{name} is not finite, or far too large")
