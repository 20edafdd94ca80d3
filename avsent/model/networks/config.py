"""Sizes of the networks, as dataclasses that travel in a checkpoint's ``config.json``.

The HMTL paper's sizes are not known; these are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from avsent.labels import MODALITIES


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
    """Convolutional network on aligned crops; ``members`` networks of these sizes vote."""

    members: int = 2
    stem: int = 28
    channels: tuple[int, ...] = (56, 112, 224)
    classes: int = 7
    dropout: float = 0.4


@dataclass(frozen=True, slots=True)
class MovementConfig:
    """Temporal convolutions over a face's way from its neutral, with attention over time."""

    points: int = 51
    channels: tuple[int, ...] = (64, 64)
    attention: int = 64
    scale: float = 0.5
    representation: int = 64
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class ExpertsConfig:
    """Trained experts in the place of the encoders; their posteriors are the representation.

    ``audio_members`` and ``face_members`` networks of the same sizes vote, and as many linear ones
    as ``audio_members`` on ``prosody`` statistics; ``emotions`` and ``polarities`` classes each.
    ``pixel_polarity``: for each class of the pixel network its polarity, −1 for none (FER2013:
    angry, disgust, fear, happy, neutral, sad, surprise).
    """

    audio_members: int = 5
    face_members: int = 5
    emotions: int = 8
    polarities: int = 3
    prosody: int = 24
    audio: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    still: FaceEncoderConfig = field(default_factory=FaceEncoderConfig)
    movement: MovementConfig = field(default_factory=MovementConfig)
    pixels: PixelConfig = field(default_factory=PixelConfig)
    pixel_polarity: tuple[int, ...] = (0, 0, 0, 2, 1, 0, -1)

    def posteriors(self, modality: str) -> int:
        """Size of the representation of ``modality``: log probabilities of all its experts."""
        own = self.emotions + self.polarities
        return 2 * own + (0 if modality == "audio" else self.pixels.classes + self.polarities)


@dataclass(frozen=True, slots=True)
class VoteConfig:
    """A stream of log probabilities in the representation of ``modality``: its column for each
    label; ``log_prior``: how common each was where the expert learnt (empty: all alike)."""

    modality: str
    columns: tuple[int, ...]
    log_prior: tuple[float, ...] = ()


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
    """Which fusion head, and the options of those that have any.

    ``factors`` k and ``outputs`` o: factorized bilinear pooling, ``normalise``: signed square root
    and L2 after it. ``beta`` and ``original``: multiplicative fusion's β, and Liu's form of the
    loss instead of M3ER's. ``segments``: pieces of an utterance in AVEF.
    """

    name: str = "hmtl"
    factors: int = 4
    outputs: int = 32
    normalise: bool = True
    beta: float = 1.0
    original: bool = False
    segments: int = 4


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """M3ER's modality check and proxy features, see :class:`~avsent.model.networks.modality_check.Guard`.

    ``components`` of the common space; ``agreement`` τ: a pair that agrees less is not believed;
    ``farthest``: how far from the training data voice and face may lie. ``basis``: training pairs
    kept for proxies, ``neighbours`` of them are used at a time, with a ``ridge``; ``linear``: one
    linear map instead; ``stand_in``: whether proxies are used unless the user says otherwise.
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
    """Size of each modality's ready-made vector per utterance; 0 where it comes raw or not."""

    audio: int = 0
    face: int = 0
    text: int = 0

    def of(self, modality: str) -> int:
        """Size for ``modality``."""
        return {"audio": self.audio, "face": self.face, "text": self.text}[modality]


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Everything needed to rebuild a :class:`~avsent.model.networks.target.TargetModel`.

    ``experts``: what encodes instead of ``audio`` and ``face``, None for encoders that learn with
    the rest. ``votes``: streams whose log probabilities are added to the fusion head's
    logits. ``real``: the model predicts a number (sentiment, −3 … 3); ``labels`` are then
    the polarities that its number is turned into. ``guard``: what checks voice against face.
    """

    labels: tuple[str, ...] = ("negative", "neutral", "positive")
    modalities: tuple[str, ...] = MODALITIES
    real: bool = False
    audio: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    face: FaceEncoderConfig = field(default_factory=FaceEncoderConfig)
    vectors: VectorSizes = field(default_factory=VectorSizes)
    experts: ExpertsConfig | None = None
    votes: tuple[VoteConfig, ...] = ()
    context: ContextConfig = field(default_factory=ContextConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    guard: GuardConfig | None = None

    def input_size(self, modality: str) -> int:
        """Size of what enters the embedding network of ``modality``: one piece of an utterance."""
        ready = self.vectors.of(modality)
        if ready or modality == "text":
            return ready
        if self.experts is not None:
            return self.experts.posteriors(modality)
        return (self.audio if modality == "audio" else self.face).representation

    def pieces(self, modality: str) -> int:
        """Pieces of an utterance that the encoder of ``modality`` gives: AVEF's segments, else 1.

        A ready-made vector stands for the whole utterance and cannot be cut.

        Raises:
            ValueError: AVEF with less than one segment.
        """
        ready = self.vectors.of(modality) or self.experts is not None
        if self.fusion.name != "avef" or ready or modality == "text":
            return 1
        if self.fusion.segments < 1:
            raise ValueError(f"avef needs one segment or more, not {self.fusion.segments}")
        return self.fusion.segments

    def representation_size(self, modality: str) -> int:
        """Size of what the encoder of ``modality`` gives for an utterance: its pieces, each of
        ``input_size``, one after the other."""
        return self.pieces(modality) * self.input_size(modality)
