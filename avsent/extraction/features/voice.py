"""The voice of an utterance: log-mel spectrogram, and 24 statistics of its prosody.

Measurements decided how the spectrogram is normalised so that it carries over to other recordings:
floored below its own peak and standardised by one mean and one deviation per utterance. Absolute
level, statistics of the corpus and duration do not carry over. The mel bands are librosa's.

The statistics are of pitch, energy and spectral balance. They carry over to other languages and
microphones better than a spectrogram. None is a level (it depends on the microphone's gain) or a
duration (it depends on the corpus's sentences). Pitch is found by autocorrelation (Boersma 1993,
without its path search): ``librosa.pyin`` takes ten times as long, and compiles itself for seconds
at every start where nothing can be cached.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.features.numba_cache import ensure_numba_cache
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Samples

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
FLOOR_DB = 45.0  # power further below the utterance's peak counts as silence
SILENCE_DBFS = -90.0  # without a louder frame an utterance has no voice: the modality is missing
MIN_FRAMES = 16  # fewer frames (0.16 s) count as no voice

PITCH_STATISTICS = (
    "median",  # semitones above 100 Hz
    "span",  # of the middle four fifths
    "rise",  # from the median to the upper tenth
    "deviation",
    "slope",  # from first to last voiced frame, halved
    "change deviation",  # from frame to frame
    "change",
)
VOICE_STATISTICS = ("voiced share", "periodicity", "loud share")
ENERGY_STATISTICS = ("deviation", "lower quarter", "change")
BALANCE_STATISTICS = (
    "centroid",  # mel bands
    "centroid deviation",
    "tilt",
    "middle over low",  # dB between the thirds of the bands
    "high over low",
    "middle over low deviation",
    "high over low deviation",
    "flux",
)
MODULATION_HZ = ((0.5, 2.0), (2.0, 5.0), (5.0, 10.0))
"""Rates of phrases, of syllables, and of a rough voice."""
SIZE = (
    len(PITCH_STATISTICS + VOICE_STATISTICS + ENERGY_STATISTICS + BALANCE_STATISTICS)
    + len(MODULATION_HZ)
)  # fmt: skip

PITCH_WINDOW_S = 0.04
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 70.0, 500.0
OCTAVE_COST = 10.0
"""Per second of lag: of two periods that explain a frame equally well, the shorter is the pitch."""
VOICED = 0.45  # autocorrelation from which a frame counts as voiced
LOUD_DB = -30.0  # below the loudest frame
OUTLIER_SEMITONES = 14.0
LEAP_SEMITONES = 2.0  # from one frame to the next; a larger step is an octave error
LEAST_DB = -60.0
LOW_HZ, HIGH_HZ = 708.0, 1862.0  # below the first the low bands lie, above the other the high
CHUNK = 1024  # frames computed at once
FEWEST_VOICED, FEWEST_CHANGES, FEWEST_FRAMES = 6, 4, 41


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """How the log-mel spectrogram is made; stored in the checkpoint. Leading and trailing frames
    ``trim_db`` below the loudest frame are cut off."""

    sample_rate_hz: int = SAMPLE_RATE_HZ
    window_samples: int = WINDOW_SAMPLES
    hop_samples: int = HOP_SAMPLES
    fft_samples: int = 512
    mel_bands: int = 64
    lowest_hz: float = 60.0
    highest_hz: float = 7600.0
    floor_db: float = FLOOR_DB
    trim_db: float = 35.0


@dataclass(frozen=True, slots=True, eq=False)
class AudioFeatures:
    """``power`` [mel, N] float32, from which training and prediction make the log-mel spectrogram
    (:func:`normalised_log`); ``times_s`` [N] of its frames;
    ``prosody`` [``SIZE``], None where it is not known."""

    times_s: Floats
    power: Array
    prosody: Array | None = None


def audio_features(
    samples: Samples, start_s: float, config: AudioConfig | None = None
) -> AudioFeatures | None:
    """Features of mono ``samples`` [N], the first of which sounds at ``start_s``.

    Returns None where there is nothing to hear: silence (below ``SILENCE_DBFS``) or a sound
    too short for ``MIN_FRAMES`` frames.
    """
    config = config or AudioConfig()
    audible = audible_power(samples, config)
    if audible is None:
        return None
    power, first = audible
    frames = np.arange(first, first + power.shape[1])
    times_s = start_s + frames * (config.hop_samples / config.sample_rate_hz)
    return AudioFeatures(times_s, power, prosody_of(samples, power, first, config))


# --- Spectrogram ----------------------------------------------------------------------------------


def audible_power(samples: Samples, config: AudioConfig) -> tuple[Array, int] | None:
    """Mel power [mel, N] of ``samples`` without quiet ends, and the index of its first frame; None
    where there is nothing to hear."""
    if samples.size < MIN_FRAMES * config.hop_samples or _loudest_dbfs(samples) < SILENCE_DBFS:
        return None
    power = mel_power(samples, config)
    loudness_db = 10.0 * np.log10(power.sum(axis=0) + 1e-12)
    heard = np.flatnonzero(loudness_db >= loudness_db.max() - config.trim_db)
    first, last = int(heard[0]), int(heard[-1]) + 1
    return None if last - first < MIN_FRAMES else (power[:, first:last], first)


def mel_power(samples: Samples, config: AudioConfig) -> Array:
    """Power in mel bands [mel, N] float32; frame ``k`` is centred on sample ``k * hop``, and beyond
    the ends is silence.

    It equals ``librosa.feature.melspectrogram`` to 2e-6. librosa multiplies matrices, and the last
    digits of that product depend on the number of threads; these sums do not.
    """
    size, bank = config.fft_samples, _mel_bank(config)
    window = np.zeros(size, np.float32)
    first = (size - config.window_samples) // 2
    turns = np.arange(config.window_samples) / config.window_samples
    window[first : first + config.window_samples] = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
    padded = np.pad(np.asarray(samples, dtype=np.float32), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: config.hop_samples]
    mel = np.empty((config.mel_bands, len(frames)), dtype=np.float32)
    for start in range(0, len(frames), CHUNK):
        spectrum = np.fft.rfft(frames[start : start + CHUNK] * window).T
        power = np.square(spectrum.real, dtype=np.float32)
        power += np.square(spectrum.imag, dtype=np.float32)
        for band, (low, weights) in enumerate(bank):
            parts = weights[:, None] * power[low : low + len(weights)]
            mel[band, start : start + CHUNK] = parts.sum(axis=0)
    return mel


@functools.cache
def _mel_bank(config: AudioConfig) -> list[tuple[int, Array]]:
    """For each mel band its first bin of the spectrum, and the weights from that bin on."""
    ensure_numba_cache()
    from librosa import filters

    bank = filters.mel(
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        n_mels=config.mel_bands,
        fmin=config.lowest_hz,
        fmax=config.highest_hz,
    )
    found = []
    for weights in bank:
        heard = np.flatnonzero(weights)
        low, end = (heard[0], heard[-1] + 1) if heard.size else (0, 0)
        found.append((int(low), np.asarray(weights[low:end], dtype=np.float32)))
    return found


def normalised_log(power: NDArray[Any], floor_db: float) -> Array:
    """Log-mel [mel, N] of ``power`` [mel, N]: decibels, floored at ``floor_db`` below the peak,
    with mean 0 and deviation 1."""
    decibel = 10.0 * np.log10(np.maximum(power, 1e-12))
    decibel = np.maximum(decibel, decibel.max() - floor_db)
    spread = max(float(decibel.std()), 1e-3)
    return np.asarray((decibel - decibel.mean()) / spread, dtype=np.float32)


def _loudest_dbfs(samples: Samples) -> float:
    """Level of the loudest 25-ms stretch, in dB relative to full scale."""
    usable = samples[: samples.size // WINDOW_SAMPLES * WINDOW_SAMPLES]
    if usable.size == 0:
        usable = samples
    frames = usable.reshape(-1, min(WINDOW_SAMPLES, usable.size)).astype(np.float64)
    mean_square = float(np.mean(frames**2, axis=1).max())
    return float(10.0 * np.log10(mean_square + 1e-20))


# --- Prosody --------------------------------------------------------------------------------------


def prosody(samples: Samples, config: AudioConfig | None = None) -> Array | None:
    """The statistics alone, see :func:`audio_features`."""
    features = audio_features(samples, 0.0, config)
    return None if features is None else features.prosody


def prosody_of(samples: Samples, power: Array, first: int, config: AudioConfig) -> Array:
    """The statistics [``SIZE``] of mono ``samples`` [N]; ``power`` [mel, N] and ``first``: see
    :func:`audible_power`."""
    semitones, periodic = _pitch(samples, config)
    semitones, periodic = (track[first : first + power.shape[1]] for track in (semitones, periodic))
    energy = 10 * np.log10(power.sum(axis=0, dtype=np.float64) + 1e-12)
    # With a floor, so that digital silence does not reveal how loud the recording was.
    energy = np.maximum(energy - energy.max(), LEAST_DB)
    loud = energy > LOUD_DB
    voiced = (periodic > VOICED) & loud
    statistics = [
        *_of_pitch(semitones, voiced),
        voiced.mean() / max(loud.mean(), 0.05),
        periodic[loud].mean(),
        loud.mean(),
        energy[loud].std(),
        np.percentile(energy[loud], 25),
        np.abs(np.diff(energy)).mean(),
        *_of_balance(power[:, loud], *_edges(config)),
        *_of_modulation(energy, config.hop_samples / config.sample_rate_hz),
    ]
    return np.array(statistics, dtype=np.float32)


def _pitch(samples: Samples, config: AudioConfig) -> tuple[Floats, Floats]:
    """For each hop, the pitch in semitones above 100 Hz [N] and its periodicity [N], 0 … 1."""
    rate_hz = config.sample_rate_hz
    size = round(PITCH_WINDOW_S * rate_hz)
    padded = np.pad(samples.astype(np.float32), size // 2)
    count = 1 + len(samples) // config.hop_samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: config.hop_samples][:count]
    # In chunks: the spectra of ten minutes would fill a gigabyte.
    parts = [_pitch_of(frames[i : i + CHUNK], rate_hz) for i in range(0, count, CHUNK)]
    pitch, periodic = (np.concatenate(tracks) for tracks in zip(*parts, strict=True))
    return pitch, periodic


def _pitch_of(frames: Array, rate_hz: int) -> tuple[Floats, Floats]:
    window = np.hanning(frames.shape[1]).astype(np.float32)
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    own, of_window = _autocorrelation(frames), _autocorrelation(window[None])
    own = own / np.maximum(of_window, 1e-3 * of_window[:, :1])
    own = own / np.maximum(own[:, :1], 1e-12)
    shortest, longest = int(rate_hz / HIGHEST_PITCH_HZ), int(rate_hz / LOWEST_PITCH_HZ)
    lags = np.arange(shortest, longest)
    best = (own[:, shortest:longest] - OCTAVE_COST * lags / rate_hz).argmax(axis=1)
    rows, lag = np.arange(len(own)), lags[best]
    before, peak, after = (own[rows, lag + step] for step in (-1, 0, 1))
    # The maximum of the parabola through the three.
    bend = before - 2 * peak + after
    offset = np.clip((before - after) / np.where(bend < -1e-9, 2 * bend, -1e-9), -0.5, 0.5)
    return 12 * np.log2(rate_hz / (lag + offset) / 100.0), np.clip(peak, 0.0, 1.0)


def _autocorrelation(frames: Array) -> Floats:
    """[N, W] → [N, W], lags 0 … W − 1."""
    size = frames.shape[1]
    spectrum = np.fft.rfft(frames, 2 ** int(np.ceil(np.log2(2 * size))), axis=1)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :size], dtype=np.float64)


def _of_pitch(semitones: Floats, voiced: NDArray[np.bool_]) -> list[Any]:
    track = semitones[voiced]
    if len(track):
        track = track[np.abs(track - np.median(track)) < OUTLIER_SEMITONES]
    if len(track) < FEWEST_VOICED:
        return [0.0] * len(PITCH_STATISTICS)
    low, middle, high = np.percentile(track, [10, 50, 90])
    slope = np.polyfit(np.linspace(-1, 1, len(track)), track, 1)[0]
    change = np.diff(semitones)[voiced[1:] & voiced[:-1]]
    change = change[np.abs(change) < LEAP_SEMITONES]
    if len(change) < FEWEST_CHANGES:
        change = np.zeros(1)
    of_change = change.std(), np.abs(change).mean()
    return [middle, high - low, high - middle, track.std(), slope, *of_change]


def _edges(config: AudioConfig) -> tuple[int, int]:
    """Number of mel bands with a centre below ``LOW_HZ`` and below ``HIGH_HZ``."""
    import librosa

    band = config.lowest_hz, config.highest_hz
    centres = librosa.mel_frequencies(config.mel_bands + 2, fmin=band[0], fmax=band[1])[1:-1]
    return int((centres < LOW_HZ).sum()), int((centres < HIGH_HZ).sum())


def _of_balance(power: Array, low_bands: int, high_bands: int) -> list[Any]:
    """Statistics of the loud frames' ``power`` [mel, N]; the middle bands lie from ``low_bands`` to
    ``high_bands``."""
    decibel = 10 * np.log10(power.astype(np.float64) + 1e-12)
    decibel = np.maximum(decibel - decibel.max(), LEAST_DB)
    linear, bands = 10 ** (decibel / 10), np.arange(len(decibel))
    centroid = (linear * bands[:, None]).sum(axis=0) / linear.sum(axis=0)
    tilt = np.polyfit(bands, decibel.mean(axis=1), 1)[0] * len(bands)
    parts = slice(0, low_bands), slice(low_bands, high_bands), slice(high_bands, None)
    low, middle, high = (10 * np.log10(linear[part].sum(axis=0) + 1e-9) for part in parts)
    flux = np.abs(np.diff(decibel, axis=1)).mean() if decibel.shape[1] > 1 else 0.0
    contrasts = middle - low, high - low
    means, deviations = [one.mean() for one in contrasts], [one.std() for one in contrasts]
    return [centroid.mean(), centroid.std(), tilt, *means, *deviations, flux]


def _of_modulation(energy: Floats, hop_s: float) -> list[Any]:
    """Log share of the envelope's modulation in each band of ``MODULATION_HZ``."""
    if len(energy) < FEWEST_FRAMES:
        return [0.0] * len(MODULATION_HZ)
    spectrum = np.abs(np.fft.rfft(energy - energy.mean())) ** 2
    rates_hz = np.fft.rfftfreq(len(energy), hop_s)
    whole = spectrum[1:].sum() + 1e-12
    return [
        np.log(spectrum[(rates_hz >= slow) & (rates_hz < fast)].sum() / whole + 1e-4)
        for slow, fast in MODULATION_HZ
    ]
