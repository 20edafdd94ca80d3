"""Sizes of the networks, as dataclasses that travel in a checkpoint's ``config.json``.

The HMTL paper does not give sizes; these are ours.
"""

from dataclasses import dataclass, field

from avsent.labels import MODALITIES

SEGMENTS = {"avef": 4, "cnn-lstm": 8, "mult": 8}
"""Fusion heads that read segments of an utterance, and how many `avsent train` makes (ours)."""


@dataclass(frozen=True, slots=True)
class AudioEncoderConfig:
    """Convolutional encoder of log-mel spectrograms; ``scale`` is FBP's λ."""

    mel_bands: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 96)
    attention: int = 64
    scale: float = 0.5
    representation: int = 64
    dropout: float = 0.3


@dataclass(frozen=True, slots=True)
class FaceEncoderConfig:
    """Per-frame landmark encoder with attention over frames; ``scale`` is FBP's λ."""

    points: int = 51
    hidden: tuple[int, ...] = (128, 64)
    attention: int = 64
    scale: float = 0.5
    representation: int = 64
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class PixelConfig:
    """Convolutional network on aligned crops; ``classes``: FER+'s."""

    stem: int = 32
    channels: tuple[int, ...] = (64, 128, 256)
    classes: int = 8
    dropout: float = 0.4


@dataclass(frozen=True, slots=True)
class MovementConfig:
    """Temporal convolutions over the displacement from the neutral face, attention over time."""

    points: int = 51
    channels: tuple[int, ...] = (64, 64)
    attention: int = 64
    scale: float = 0.5
    representation: int = 64
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    """Sizes of Whisper's encoder. ``layers``: how many of it are run; ``kept``: the first layer
    whose output is used, counted from 1."""

    mel_bands: int = 80
    size: int = 512
    heads: int = 8
    layers: int = 6
    positions: int = 1500
    kept: int = 3

    @property
    def outputs(self) -> int:
        """Layers whose output is used."""
        return self.layers - self.kept + 1


@dataclass(frozen=True, slots=True)
class ExpertsConfig:
    """Trained experts in place of the encoders; their posteriors are the representation.

    ``audio_members`` also counts the linear classifiers of ``prosody`` statistics.
    ``voice_attention``, ``voice_scale``: hidden size and λ of the attention over Whisper's steps.
    ``pixel_polarity``: polarity of each class of the pixel network, −1 for none (FER+: neutral,
    happiness, surprise, sadness, anger, disgust, fear, contempt).
    """

    audio_members: int = 6
    face_members: int = 6
    emotions: int = 8
    polarities: int = 3
    prosody: int = 24
    voice_attention: int = 32
    voice_scale: float = 1.0
    whisper: WhisperConfig = field(default_factory=WhisperConfig)
    still: FaceEncoderConfig = field(default_factory=FaceEncoderConfig)
    movement: MovementConfig = field(default_factory=MovementConfig)
    pixels: PixelConfig = field(default_factory=PixelConfig)
    pixel_polarity: tuple[int, ...] = (1, 2, -1, 0, 0, 0, 0, 0)

    def posteriors(self, modality: str) -> int:
        """Size of the representation of ``modality``: the log probabilities of its experts."""
        own = self.emotions + self.polarities
        return 2 * own + (0 if modality == "audio" else self.pixels.classes + self.polarities)


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """Embedding networks (BiGRU → dense → BiGRU) and classifier over a video's utterances."""

    first_gru: int = 48
    dense: int = 64
    second_gru: int = 32
    dropout: float = 0.4
    classifier: int = 64


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Which fusion head, and its options.

    ``factors`` k and ``outputs`` o: of factorized bilinear pooling, ``normalise``: signed square
    root and L2 after it. ``beta`` and ``original``: multiplicative fusion's β, and Liu's form of
    the loss instead of M3ER's. ``segments``: of an utterance, for the heads in ``SEGMENTS``.
    ``rank``: of low-rank fusion.
    """

    name: str = "hmtl"
    factors: int = 4
    outputs: int = 32
    normalise: bool = True
    beta: float = 1.0
    original: bool = False
    segments: int = 4
    rank: int = 4


@dataclass(frozen=True, slots=True)
class ModalityCheckConfig:
    """See :class:`~avsent.model.networks.modality_check.ModalityCheck`.

    ``components``: of the common space; ``agreement``: τ, pairs below it lose a modality;
    ``farthest``: limits of the distance of voice and face from the training data. ``basis``:
    training pairs kept for proxies, ``neighbours`` of them used at a time, with a ``ridge``;
    ``linear``: one linear map instead; ``stand_in``: use proxies unless the user decides.
    """

    components: int = 8
    agreement: float = -1.0
    farthest: tuple[float, float] = (1e9, 1e9)
    basis: int = 256
    neighbours: int = 16
    ridge: float = 0.1
    linear: bool = False
    stand_in: bool = True


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """HM-Decoder and HM-Discriminator; ``dropout`` is the discriminator's."""

    decoder_hidden: int = 64
    discriminator_hidden: int = 32
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class VectorSizes:
    """Size of each modality's ready-made vector per utterance; 0: raw input, or none."""

    audio: int = 0
    face: int = 0
    text: int = 0

    def of(self, modality: str) -> int:
        size: int = getattr(self, modality)
        return size


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Everything needed to rebuild a :class:`~avsent.model.networks.target.TargetModel`.

    ``experts``: encode in place of ``audio`` and ``face``; None: the encoders are trained with the
    rest.
    ``real``: the model predicts a number (sentiment, −3 … 3); ``labels`` are then the polarities
    of that number. ``guard``: the modality check.
    """

    labels: tuple[str, ...] = ("negative", "neutral", "positive")
    modalities: tuple[str, ...] = MODALITIES
    real: bool = False
    audio: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    face: FaceEncoderConfig = field(default_factory=FaceEncoderConfig)
    vectors: VectorSizes = field(default_factory=VectorSizes)
    experts: ExpertsConfig | None = None
    context: ContextConfig = field(default_factory=ContextConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    guard: ModalityCheckConfig | None = None
    votes: tuple[str, ...] = ()
    """Empty: only so that checkpoints of earlier versions can be read."""

    @property
    def outputs(self) -> int:
        """Outputs C of the fusion head."""
        return 1 if self.real else len(self.labels)

    @property
    def embedding_size(self) -> int:
        """Size D of an embedding: both directions of the second GRU."""
        return 2 * self.context.second_gru

    def input_size(self, modality: str) -> int:
        """Input size of the embedding network of ``modality``: one segment of an utterance."""
        ready = self.vectors.of(modality)
        if ready or modality == "text":
            return ready
        if self.experts is not None:
            return self.experts.posteriors(modality)
        return (self.audio if modality == "audio" else self.face).representation

    def cannot_be_cut(self, modality: str) -> bool:
        """Whether an utterance enters as one vector: ready-made, text's, or of experts."""
        return bool(self.vectors.of(modality)) or self.experts is not None or modality == "text"

    def segments(self, modality: str) -> int:
        """Segments that the encoder of ``modality`` makes of an utterance: more than 1 only for the
        heads in ``SEGMENTS``. Raises ValueError for such a head with less than one segment."""
        name, segments = self.fusion.name, self.fusion.segments
        if name not in SEGMENTS or self.cannot_be_cut(modality):
            return 1
        if segments < 1:
            raise ValueError(f"{name} needs one segment or more, not {segments}")
        return segments

    def representation_size(self, modality: str) -> int:
        """Size of an encoded utterance: all its segments, each of ``input_size``."""
        return self.segments(modality) * self.input_size(modality)
