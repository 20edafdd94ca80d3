"""RAVDESS as one vector per modality and clip, none of them fitted to labels.

Statistics of mel power and landmarks, so that a training run takes seconds. Nothing is learnt: the
model's vector encoder takes the scale from the training part. Level and duration are left out, as
they do not carry over to other recordings.
"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.features.voice import FLOOR_DB, HOP_SAMPLES, normalised_log
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.labels import EMOTIONS
from avsent.model.networks.config import WhisperConfig
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.feature_files import CorpusOptions
from recipes.ravdess import load_clips, ravdess_corpus
from recipes.stills import load_stills
from recipes.voices import cached_features, voices_of_clips

Array = NDArray[np.float64]

VERSION = 2  # of the statistics below; another number, another file in the cache
PERCENTILES = (10, 25, 50, 75, 90)
CEPSTRA = 20
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 70.0, 600.0
PITCH_WINDOW = 640  # 40 ms: more than two periods of the lowest pitch
VOICED = 0.45  # autocorrelation from which a frame counts as voiced
OCTAVE_COST = 0.01
"""Taken off the autocorrelation for each octave below the highest pitch: of two periods that fit
equally well the shorter one is right."""


def ravdess_vectors(folder: Path, cache: Path) -> Corpus:
    """RAVDESS with ``audio`` and ``face`` vectors; made once and kept in ``cache``."""
    corpus = ravdess_corpus(folder, CorpusOptions(cache=cache))
    digest = hashlib.sha256(f"{VERSION} {corpus.digest()}".encode()).hexdigest()[:12]
    kept = cache / "bench" / f"ravdess-vectors-{digest}.npz"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        voices = [voice_vector(sample, folder) for sample in corpus.samples]
        faces = [face_vector(sample) for sample in corpus.samples]
        partial = kept.with_name(f"{kept.stem}.part.npz")
        np.savez(partial, audio=np.stack(voices), face=np.stack(faces))
        partial.rename(kept)
    with np.load(kept) as arrays:
        audio, face = arrays["audio"], arrays["face"]
    samples = tuple(
        dataclasses.replace(sample, audio=audio[row], face=face[row])
        for row, sample in enumerate(corpus.samples)
    )
    sizes = {"audio": audio.shape[1], "face": face.shape[1]}
    return Corpus("RAVDESS", samples, sizes, None, corpus.licence)


def whisper_vectors(corpus: Corpus, data: Path, cache: Path) -> Corpus:
    """``corpus`` of :func:`ravdess_vectors` with other ``audio`` vectors: mean and deviation over
    time of the outputs of Whisper's encoder, mean over its layers [1024]."""
    voices = voices_of_clips(load_clips(data, cache))
    found = cached_features(voices, WhisperConfig(), cache)
    ends = np.cumsum(found.counts)
    layers = [
        found.steps[end - count : end].astype(np.float32).mean(axis=1)
        for end, count in zip(ends, found.counts, strict=True)
    ]
    vectors = {
        voice.name: np.concatenate([steps.mean(axis=0), steps.std(axis=0)])
        for voice, steps in zip(voices, layers, strict=True)
        if len(steps)
    }
    samples = tuple(dataclasses.replace(s, audio=vectors.get(s.key)) for s in corpus.samples)
    return dataclasses.replace(
        corpus, samples=samples, vectors={**corpus.vectors, "audio": 2 * WhisperConfig().size}
    )


def ferplus_vectors(corpus: Corpus, data: Path, cache: Path) -> Corpus:
    """``corpus`` of :func:`ravdess_vectors` with other ``face`` vectors, which know no label of
    RAVDESS: the log probability of each of ``EMOTIONS`` by a logistic regression on the landmarks
    of FER+'s pictures, mean over the frames [8]. FER+ has nobody calm: calm is neutral."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    stills = load_stills(data, cache, "ferplus", "train")
    stills = stills.only(stills.found & (stills.emotions.sum(axis=1) > 0))
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")
    )
    model.fit(stills.landmarks.reshape(len(stills), -1), stills.emotions.argmax(axis=1))
    place = {int(name): column for column, name in enumerate(model.classes_)}
    place[EMOTIONS.index("calm")] = place[EMOTIONS.index("neutral")]
    columns = [place[emotion] for emotion in range(len(EMOTIONS))]

    def said(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        frames = model.predict_log_proba(landmarks.reshape(len(landmarks), -1))
        return np.asarray(frames.mean(axis=0)[columns], dtype=np.float32)

    faces = {
        sample.key: said(sample.face)
        for sample in ravdess_corpus(data / "ravdess", CorpusOptions(cache=cache)).samples
        if sample.face is not None
    }
    samples = tuple(dataclasses.replace(s, face=faces.get(s.key)) for s in corpus.samples)
    vectors = {**corpus.vectors, "face": len(EMOTIONS)}
    return dataclasses.replace(corpus, samples=samples, vectors=vectors)


def adapted(corpus: Corpus) -> Corpus:
    """Every vector standardised by mean and deviation of all clips of the same speaker, without
    their labels: what is meant by "speaker-adaptive"."""
    rows_of: dict[str, list[int]] = {}
    for row, sample in enumerate(corpus.samples):
        rows_of.setdefault(sample.speaker, []).append(row)
    made = {}
    for name in ("audio", "face"):
        array = np.stack([getattr(sample, name) for sample in corpus.samples]).astype(np.float64)
        for rows in rows_of.values():
            own = array[rows]
            array[rows] = (own - own.mean(axis=0)) / np.maximum(own.std(axis=0), 1e-6)
        made[name] = array.astype(np.float32)
    return corpus.subset(
        dataclasses.replace(sample, **{name: array[row] for name, array in made.items()})
        for row, sample in enumerate(corpus.samples)
    )


def voice_vector(sample: Sample, folder: Path) -> NDArray[np.float32]:
    """Statistics of cepstrum, energy, spectral shape and pitch, 126 of them."""
    import soundfile

    power = np.asarray(sample.audio)
    log_mel = normalised_log(power, FLOOR_DB).astype(np.float64)
    # Rows of the discrete cosine transform, without the constant one.
    places = (np.arange(len(log_mel)) + 0.5) / len(log_mel)
    cosines = np.cos(np.pi * np.arange(1, CEPSTRA + 1)[:, None] * places) / np.sqrt(
        len(log_mel) / 2
    )
    sound, _ = soundfile.read(folder / "audio" / f"{sample.key}.flac", dtype="float64")
    cepstra = statistics((cosines @ log_mel).T, ())
    parts = [cepstra, _contours(power.astype(np.float64)), _pitch_statistics(*pitch(sound))]
    return np.concatenate(parts).astype(np.float32)


def face_vector(sample: Sample) -> NDArray[np.float32]:
    """Mean place of each landmark, and logarithms of how much it spreads and how fast it moves:
    306 values."""
    points = np.asarray(sample.face, dtype=np.float64).reshape(len(sample.face), -1)
    mean, spread, steps = np.split(statistics(points, ()), 3)
    return np.concatenate([mean, np.log(spread + 1e-3), np.log(steps + 1e-3)]).astype(np.float32)


def statistics(series: Array, percentiles: tuple[int, ...]) -> Array:
    """Mean, deviation, ``percentiles`` and mean |difference| over the rows of ``series`` [T, F],
    one after the other [(3 + P) · F]."""
    steps = np.abs(np.diff(series, axis=0)).mean(axis=0) if len(series) > 1 else 0 * series[0]
    ranked = np.percentile(series, percentiles, axis=0).reshape(-1) if percentiles else []
    return np.concatenate([series.mean(axis=0), series.std(axis=0), steps, ranked])


def _contours(power: Array) -> Array:
    """Statistics over time of energy, tilt, centroid and flux of mel power [mel, N], relative to
    the loudest frame."""
    bands = np.arange(len(power))
    level = 10 * np.log10(np.maximum(power.sum(axis=0), 1e-12))
    level = np.maximum(level - level.max(), -FLOOR_DB)
    share = power / np.maximum(power.sum(axis=0), 1e-12)
    centroid = bands @ share
    half = len(power) // 2
    tilt = 10 * np.log10(
        np.maximum(share[half:].sum(axis=0), 1e-6) / np.maximum(share[:half].sum(axis=0), 1e-6)
    )
    flux = np.abs(np.diff(share, axis=1, prepend=share[:, :1])).sum(axis=0)
    width = np.sqrt(np.maximum(bands**2 @ share - centroid**2, 0))
    series = np.stack([level, centroid, tilt, flux, width], axis=1)
    heard = level > -30.0
    half_time = np.linspace(-1, 1, int(heard.sum()))
    slopes = (half_time @ (series[heard] - series[heard].mean(axis=0))) / len(half_time)
    return np.concatenate([statistics(series[heard], PERCENTILES), slopes])


def pitch(sound: Array) -> tuple[Array, Array, Array]:
    """Pitch in Hz, strength of periodicity (0 … 1) and level in dB of each 10-ms frame of mono
    ``sound`` at 16 kHz, by the autocorrelation divided by that of the window (Boersma 1993)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, PITCH_WINDOW)[::HOP_SAMPLES]
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    window = np.hanning(PITCH_WINDOW)
    size = 2 * PITCH_WINDOW
    spectrum = np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window, size)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2) / own[None]
    correlation /= np.maximum(correlation[:, :1], 1e-12)
    shortest = int(SAMPLE_RATE_HZ / HIGHEST_PITCH_HZ)
    longest = int(SAMPLE_RATE_HZ / LOWEST_PITCH_HZ)
    lags = np.arange(shortest, longest + 1)
    strength = correlation[:, lags]
    # Inside the range only: a slope towards lag 0 is no period.
    peak = np.zeros_like(strength, dtype=bool)
    peak[:, 1:-1] = (strength[:, 1:-1] >= strength[:, :-2]) & (strength[:, 1:-1] >= strength[:, 2:])
    judged = np.where(peak, strength - OCTAVE_COST * np.log2(lags / shortest), -1.0)
    best = judged.argmax(axis=1)
    return (SAMPLE_RATE_HZ / lags[best], np.clip(strength[np.arange(len(best)), best], 0, 1), level)


def _pitch_statistics(hertz: Array, strength: Array, level: Array) -> Array:
    heard = level > level.max() - 35.0
    voiced = heard & (strength > VOICED)
    tone = 12 * np.log2(hertz / 100.0)
    if voiced.sum() < 3:
        return np.zeros(21)
    kept = tone[voiced]
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(kept, 2, "edge"), 5), axis=1)
    time = np.linspace(-1, 1, len(smooth))
    thirds = [part.mean() for part in np.array_split(smooth, 3)]
    return np.concatenate(
        [
            statistics(smooth[:, None], (5, *PERCENTILES, 95)),
            [np.ptp(np.percentile(smooth, (5, 95))), time @ (smooth - smooth.mean()) / len(time)],
            [thirds[0] - thirds[1], thirds[2] - thirds[1]],
            [voiced.sum() / heard.sum()],
            statistics(strength[heard][:, None], ()),
            [np.mean(strength[heard] > 0.8), np.corrcoef(smooth, level[voiced])[0, 1]],
            [np.percentile(strength[heard], 25)],
        ]
    )
