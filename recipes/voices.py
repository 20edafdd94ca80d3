"""Voices of eight corpora: RAVDESS and seven more, each in another language; changed recordings.

A voice is represented by what Whisper's encoder, which is not trained here, makes of it, and by its
prosody.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from avsent.errors import DatasetError
from avsent.extraction.features.voice import SIZE, AudioConfig, audio_features
from avsent.extraction.media.audio import HighPass
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.labels import EMOTIONS, canonical
from avsent.model.checkpoint import WHISPER_FILE
from avsent.model.folders import shipped_folder
from avsent.model.networks.config import WhisperConfig
from avsent.model.networks.whisper import WhisperEncoder
from avsent.training.data.arrays import load_arrays, save_arrays
from avsent.training.modality_check import SNR
from recipes.ravdess import RavdessClip

Array = NDArray[np.float32]

RAVDESS = "RAVDESS"
FOREIGN = ("ASED", "EMOVO", "IndianEmoSpeech", "KoreanETOD", "URDU", "nEMO")
"""Corpora with negative, neutral and positive voices; each is left out in turn. BAVED has neutral
ones only."""
BACKGROUND = "background"
POLARITIES = ("negative", "neutral", "positive")
WHISPER_AUDIO = AudioConfig(mel_bands=80, fft_samples=400, lowest_hz=0.0, highest_hz=8000.0)
"""The spectrogram that Whisper's encoder was trained on."""

SPEED = 0.12
"""Faster and higher, or slower and lower: another speaker."""
TILT_DB = 6.0
EQUALISER_DB = 4.0
TELEPHONE_SHARE = 0.2
TELEPHONE_HZ = (300.0, 3_400.0)
TELEPHONE_DB = -40.0
NOISE_SNR_DB = (8.0, 45.0)
NOISE_TILT_DB = (-12.0, 3.0)
BACKGROUND_SHARE, BACKGROUND_SNR_DB = 0.5, (3.0, 30.0)
CODEC_SHARE = 0.5
CODECS = (("libopus", "ogg", (10_000, 32_000)), ("aac", "adts", (16_000, 48_000)))
"""Encoder, container and bit rates in bit/s."""
IN_NOISE = -1
"""Version of the voices that fits the modality check."""
RECORDINGS = 1
"""To be raised when ``another_recording`` or ``noisy_sound`` changes."""


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """One clip: mono ``sound`` [N] at 16 kHz, filtered as in prediction. ``emotion``: index in
    ``EMOTIONS``, ``polarity``: index in ``POLARITIES``; −1 for none."""

    name: str
    corpus: str
    speaker: str
    emotion: int
    polarity: int
    sound: Array


def load_voices(data: Path) -> list[Voice]:
    """The clips of ``data/voices``, backgrounds included.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    folder = data / "voices"
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{folder}: no labels.csv; give the folder of the corpora") from error
    voices = []
    for row in rows:
        emotion, polarity = canonical(row["emotion"]), row["polarity"]
        sound = _decoded(folder / row["file"])
        if not len(sound):  # what is no sound at all may open as one of no samples
            raise DatasetError(f"{folder / row['file']}: holds no sound; restore the file")
        voices.append(
            Voice(
                name=row["file"],
                corpus=BACKGROUND if emotion == BACKGROUND else row["corpus"],
                speaker=f"{row['corpus']} {row['speaker']}",
                emotion=EMOTIONS.index(emotion) if emotion in EMOTIONS else -1,
                polarity=POLARITIES.index(polarity) if polarity in POLARITIES else -1,
                sound=HighPass()(sound),
            )
        )
    return voices


def voices_of_clips(clips: Sequence[RavdessClip]) -> list[Voice]:
    """The voices of RAVDESS's ``clips``, in their order; silence for a clip without one."""
    return [
        Voice(
            name=clip.clip_id,
            corpus=RAVDESS,
            speaker=f"actor {clip.actor}",
            emotion=EMOTIONS.index(clip.emotion),
            polarity=-1 if clip.polarity is None else clip.polarity,
            sound=np.zeros(0, np.float32) if clip.sound is None else clip.sound,
        )
        for clip in clips
    ]


def _decoded(source: Path | io.BytesIO) -> Array:
    """Mono samples [N] at 16 kHz of the first sound track."""
    try:
        opened: Any = av.open(source if isinstance(source, io.BytesIO) else str(source))
        with opened as container:
            resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
            frames = [
                part for frame in container.decode(audio=0) for part in resampler.resample(frame)
            ]
            frames += resampler.resample(None)
    except (OSError, av.FFmpegError, IndexError) as error:
        raise DatasetError(f"{source}: cannot be read; restore the file") from error
    return np.concatenate([np.zeros(0, np.float32), *(part.to_ndarray()[0] for part in frames)])


# --- Changed recordings ---------------------------------------------------------------------------


def another_recording(
    sound: Array, rng: np.random.Generator, backgrounds: Sequence[Array] = ()
) -> Array:
    """A changed copy of mono ``sound`` [N] at 16 kHz → [N']: another microphone; often also other
    sound in the background, and a lossy codec."""
    changed = another_microphone(sound, SAMPLE_RATE_HZ, rng)
    if backgrounds and rng.random() < BACKGROUND_SHARE:
        other = backgrounds[int(rng.integers(len(backgrounds)))]
        start = int(rng.integers(len(other)))
        other = np.resize(np.roll(other, -start), len(changed))
        level = changed.std() / max(float(other.std()), 1e-6)
        changed = changed + other * (level * _factor(-rng.uniform(*BACKGROUND_SNR_DB)))
    if rng.random() < CODEC_SHARE:
        changed = _through_codec(changed, rng)
    return np.asarray(changed, dtype=np.float32)


def another_microphone(samples: Array, rate_hz: int, rng: np.random.Generator) -> Array:
    """A changed copy of mono ``samples`` [N] at ``rate_hz`` → [N'].

    Speed (and pitch with it), spectral balance, band limits, and noise: like ``augmented_log_mel``,
    but on the waveform, for features that need it.
    """
    count = max(1, round(len(samples) * float(np.exp(rng.uniform(-SPEED, SPEED)))))
    # Band-limited resampling: the same spectrum with more or fewer bins.
    sound = np.fft.irfft(np.fft.rfft(samples), count) * (count / max(len(samples), 1))
    spectrum = np.fft.rfft(sound)
    rates_hz = np.fft.rfftfreq(len(sound), 1 / rate_hz)
    place = np.linspace(-0.5, 0.5, len(rates_hz))
    gain_db = rng.uniform(-TILT_DB, TILT_DB) * place
    waves = 2 * np.pi * rng.uniform(0.5, 3.0) * (place + rng.random())
    gain_db += rng.uniform(0, EQUALISER_DB) * np.sin(waves)
    if rng.random() < TELEPHONE_SHARE:
        gain_db[(rates_hz < TELEPHONE_HZ[0]) | (rates_hz > TELEPHONE_HZ[1])] += TELEPHONE_DB
    sound = np.fft.irfft(spectrum * _factor(gain_db), len(sound))
    hiss = np.fft.rfft(rng.normal(size=len(sound)))
    hiss *= _factor(rng.uniform(*NOISE_TILT_DB) * (place + 0.5))
    noise = np.fft.irfft(hiss, len(sound))
    wanted = sound.std() * float(_factor(-rng.uniform(*NOISE_SNR_DB)))
    changed = sound + noise * (wanted / max(float(noise.std()), 1e-9))
    return np.asarray(changed, dtype=np.float32)


def noisy_sound(samples: Array, snr: float, rng: np.random.Generator) -> Array:
    """Mono ``samples`` [N] with white noise of 1 / ``snr`` times their power."""
    if not len(samples):
        return samples
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / snr))
    return (samples + level * rng.normal(size=samples.shape)).astype(np.float32)


def _factor(decibel: Any) -> Any:
    return 10 ** (decibel / 20)


def _through_codec(sound: Array, rng: np.random.Generator) -> Array:
    """``sound`` [N] after encoding and decoding; its level is set below clipping before."""
    encoder, container, rates = CODECS[int(rng.integers(len(CODECS)))]
    level = 0.7 / max(float(np.abs(sound).max(initial=0.0)), 1e-6)
    packed = io.BytesIO()
    with av.open(packed, "w", format=container) as output:
        stream: Any = output.add_stream(encoder, rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = int(rng.integers(*rates))
        frame = av.AudioFrame.from_ndarray((sound * level)[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        context = stream.codec_context
        resampler = av.AudioResampler(
            context.format.name, "mono", SAMPLE_RATE_HZ, frame_size=context.frame_size or None
        )
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            part.pts = None
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    packed.seek(0)
    return _decoded(packed)


# --- Features -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class VoiceFeatures:
    """Features of N voices: Whisper's ``steps`` [ΣS, layers, size] float16, one voice after the
    other, ``counts`` [N] of each (0 for silence), and ``prosody`` [N, 24], NaN for silence."""

    steps: NDArray[np.float16]
    counts: NDArray[np.int64]
    prosody: Array

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Of these voices padded steps [n, S, layers, size], mask [n, S], prosody [n, 24]."""
        starts = np.cumsum(self.counts) - self.counts
        most = max(1, max((int(self.counts[row]) for row in rows), default=1))
        steps = torch.zeros(len(rows), most, *self.steps.shape[1:])
        mask = torch.zeros(len(rows), most, dtype=torch.bool)
        for place, row in enumerate(rows):
            count, start = int(self.counts[row]), int(starts[row])
            steps[place, :count] = torch.from_numpy(self.steps[start : start + count]).float()
            mask[place, :count] = True
        return steps, mask, torch.from_numpy(self.prosody[np.asarray(rows)])


def whisper_encoder(config: WhisperConfig) -> WhisperEncoder:
    """Whisper's encoder with the weights that come with avsent."""
    encoder = WhisperEncoder(config)
    encoder.load_state_dict(load_file(shipped_folder() / WHISPER_FILE))
    return encoder.eval()


def cached_features(
    voices: Sequence[Voice], config: WhisperConfig, cache: Path, version: int = 0
) -> VoiceFeatures:
    """Features of ``voices``: version 0 as they are, ``IN_NOISE`` with white noise, each other one
    as of another recording; kept in the folder ``cache``.

    Raises:
        OutputError: the cache cannot be written.
    """
    words = (config, WHISPER_AUDIO, version, RECORDINGS, *((SNR,) if version == IN_NOISE else ()))
    digest = hashlib.sha256(repr(words).encode())
    for voice in voices:
        digest.update(voice.name.encode())
        digest.update(voice.sound.tobytes())
    kept = cache / f"voices-{version}-{digest.hexdigest()[:12]}.npz"
    with contextlib.suppress(DatasetError):  # missing or damaged: made again
        arrays = load_arrays(kept, ("steps", "counts", "prosody"))
        return VoiceFeatures(arrays["steps"], arrays["counts"], arrays["prosody"])
    found = voice_features(voices, config, version)
    save_arrays(kept, {"steps": found.steps, "counts": found.counts, "prosody": found.prosody})
    return found


@torch.inference_mode()
def voice_features(
    voices: Sequence[Voice], config: WhisperConfig, version: int = 0
) -> VoiceFeatures:
    """See :func:`cached_features`."""
    encoder = whisper_encoder(config)
    backgrounds = [voice.sound for voice in voices if voice.corpus == BACKGROUND]
    steps = [np.zeros((0, config.outputs, config.size), np.float16)]
    counts = np.zeros(len(voices), dtype=np.int64)
    prosody = np.full((len(voices), SIZE), np.nan, dtype=np.float32)
    for row, voice in enumerate(voices):
        sound = voice.sound
        if version and len(sound):
            # Seeded by the clip's name, so that its copies do not depend on the other clips.
            name = hashlib.sha256(f"{version} {voice.name}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(name[:8], "big"))
            if version == IN_NOISE:
                sound = noisy_sound(sound, SNR, rng)
            else:
                sound = another_recording(sound, rng, backgrounds)
        features = audio_features(sound, 0.0, WHISPER_AUDIO)
        if features is None:
            continue
        found = encoder(torch.from_numpy(features.power)).numpy().astype(np.float16)
        steps.append(found)
        counts[row] = len(found)
        if features.prosody is not None:
            prosody[row] = features.prosody
    return VoiceFeatures(np.concatenate(steps), counts, prosody)
