"""Settings of a training run: dataclasses that the run folder's ``config.json`` holds.

The HMTL paper's sizes, weights and optimiser are not known: these defaults are ours.
"""

import dataclasses
from dataclasses import dataclass, field

from avsent.labels import MODALITIES
from avsent.model.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    FusionConfig,
    TransferConfig,
)

ALPHA, BETA, GAMMA = 1.0, 1.0, 0.0
"""Default weights of the classification, the HM-Decoder and the adversarial loss. No form of the
latter that was tried both aligns the spaces and keeps the accuracy (docs/benchmarks)."""
CONTEXT = ContextConfig(first_gru=48, dense=50, second_gru=24, classifier=50)
"""Default sizes of the networks over the utterances of a video."""
ATTENTION_SCALE = AudioEncoderConfig().scale
"""Default scale λ of the attention in encoders of raw sound and faces."""
PULL = 1.0
"""Default pull to the weights of the checkpoint that training starts from."""
START_RATE = 3e-3
"""Default learning rate of what starts from a checkpoint."""
TUNE_RATE = 0.1  # of the learning rate, for the encoders of a checkpoint


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Which source teaches, how, and with what weights.

    ``kind``: "hmtl"; "distil", the source's class distribution (SoundNet's teacher and student:
    Aytar, Vondrick and Torralba, NeurIPS 2016); or "pseudo", its decisions as labels of the
    utterances without one. ``classification`` α, ``decoder`` β and ``adversarial`` γ weigh
    ``O_cls = α·CE`` and ``O_emb = β·L_dec + γ·L_adv`` (HMTL), β also the distillation; 0 switches
    a part off. ``scaled``: β is multiplied by :func:`~avsent.training.trainer.unlabelled_pairs`; in
    the paper it is not. ``schedule``: β and γ stay (constant), fall to 0 over the epochs (decay),
    or grow over the first third (ramp).
    ``cross_fit``: number of folds of which each utterance of the training part gets an out-of-fold
    source embedding (0: all get that of the one source).
    """

    source: str | None = None
    kind: str = "hmtl"
    classification: float = ALPHA
    decoder: float = BETA
    adversarial: float = GAMMA
    schedule: str = "constant"
    cross_fit: int = 0
    scaled: bool = True
    networks: TransferConfig = field(default_factory=TransferConfig)

    @property
    def active(self) -> bool:
        """Whether anything is transferred at all."""
        weights = {"hmtl": self.decoder + self.adversarial, "distil": self.decoder, "pseudo": 1.0}
        return self.source is not None and weights[self.kind] > 0

    def share(self, epoch: int, epochs: int) -> float:
        """Factor on β and γ in ``epoch`` (from 0) of ``epochs``."""
        if self.schedule == "decay":
            return 1.0 - epoch / epochs
        if self.schedule == "ramp":
            return min(1.0, 3.0 * (epoch + 1) / epochs)
        return 1.0


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """AdamW, batches, regularisation. ``balance``: classes weigh inversely to their frequency.
    ``patience``: epochs without a better validation value before the run ends early."""

    epochs: int = 30
    patience: int = 30
    batch_videos: int = 16
    batch_utterances: int = 1024
    learning_rate: float = 1e-3
    rate_schedule: str = "auto"
    weight_decay: float = 0.0
    clip: float = 5.0
    label_smoothing: float = 0.0
    input_dropout: float = 0.0
    modality_dropout: float = 0.0
    balance: bool = True
    augment: bool = True
    select: str = "auto"


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """``by``: no "speaker" or "video" lies in two parts. ``validation`` and ``test``: shares of the
    groups, if the corpus has no parts of its own."""

    by: str = "speaker"
    validation: float = 0.2
    test: float = 0.2


@dataclass(frozen=True, slots=True)
class TextSettings:
    """``encoder``: "auto" (the corpus' own vectors if it has any, else tfidf), "tfidf", or a
    sentence-transformers model; ``size`` of tfidf's vectors."""

    encoder: str = "auto"
    size: int = 100


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that decides a run's result besides the data and the seed.

    ``attention_scale``: λ of the attention in encoders of raw sound and faces.
    ``check``: outliers are dropped from the training part, and the model gets a guard, M3ER's
    modality check."""

    target: tuple[str, ...] = MODALITIES
    label: str = "label"
    labels: str = "auto"
    context: ContextConfig = CONTEXT
    fusion: FusionConfig = field(default_factory=FusionConfig)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    text: TextSettings = field(default_factory=TextSettings)
    attention_scale: float = ATTENTION_SCALE
    check: bool = True


def for_source(settings: TrainSettings) -> TrainSettings:
    """``settings`` with default regularisation, for the source.

    The strong regularisation that a target needs (dropout .7, say) keeps a text model at chance
    (measured on CMU-MOSI), and a source at chance teaches noise.
    """
    plain = OptimiserSettings()
    return dataclasses.replace(
        settings,
        context=dataclasses.replace(settings.context, dropout=ContextConfig().dropout),
        optimiser=dataclasses.replace(
            settings.optimiser,
            weight_decay=plain.weight_decay,
            input_dropout=plain.input_dropout,
            modality_dropout=plain.modality_dropout,
        ),
    )
