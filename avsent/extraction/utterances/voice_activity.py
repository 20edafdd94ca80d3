"""Voice activity detection: the probability that a frame of sound is speech."""

from __future__ import annotations

import errno
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.media.events import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from torch import Tensor

Samples = NDArray[np.float32]

FRAME_SAMPLES = 512  # the only length that silero-vad takes at 16 kHz
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class SpeechDetector(Protocol):
    """Judges the frames of a stream. Holds state: one stream at a time."""

    name: ClassVar[str]

    def reset(self) -> None:
        """Begin a new stream."""

    def probabilities(self, frames: Samples) -> list[float]:
        """Probability (0..1) of speech in each of the next F ≥ 1 ``frames``, float32
        [F, FRAME_SAMPLES]."""


class SileroSpeechDetector:
    """The silero-vad network with the weights in its wheel. Raises what loading raises."""

    name: ClassVar[str] = "silero"

    def __init__(self) -> None:
        from avsent.machine import one_torch_thread

        # The import sets torch to one thread for good; loading uses deprecated TorchScript.
        with one_torch_thread(), warnings.catch_warnings():
            message = ".*torch.jit.load.*|path is deprecated.*"
            warnings.filterwarnings("ignore", message, DeprecationWarning)
            from silero_vad import load_silero_vad

            model = load_silero_vad()
        with _torch_for_small_input():
            self._network = fastest_network(model)

    def reset(self) -> None:
        self._network.reset()

    def probabilities(self, frames: Samples) -> list[float]:
        import torch

        with _torch_for_small_input():
            return self._network.probabilities(torch.from_numpy(frames)).tolist()


class FramewiseNetwork:
    """silero-vad as its wheel offers it: one call for each frame."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def reset(self) -> None:
        self._model.reset_states()

    def probabilities(self, frames: Tensor) -> Tensor:
        import torch

        return torch.cat([self._model(frame, SAMPLE_RATE_HZ).flatten() for frame in frames])


class BatchedNetwork:
    """The modules of silero-vad, called once for all frames: eight times as fast.

    Each frame is encoded independently, with a little sound before it; only the LSTM after the
    encoder runs from frame to frame. Raises anything if the modules are different.
    """

    def __init__(self, model: Any) -> None:
        import torch

        self._modules = model._model
        self._context = int(self._modules.context_size_samples)
        cell = dict(self._modules.decoder.rnn.named_parameters())
        self._lstm = torch.nn.LSTM(cell["weight_ih"].shape[1], cell["weight_hh"].shape[1])
        self._lstm.load_state_dict({f"{name}_l0": weights for name, weights in cell.items()})
        self.reset()

    def reset(self) -> None:
        import torch

        self._before = torch.zeros(self._context)
        self._state: tuple[Tensor, Tensor] | None = None

    def probabilities(self, frames: Tensor) -> Tensor:
        import torch

        sound = torch.cat([self._before, frames.flatten()])
        self._before = sound[-self._context :].clone()  # a view would keep all of ``sound``
        length = frames.shape[1]
        spectra = self._modules.run_extractors(sound.unfold(0, self._context + length, length))
        hidden, self._state = self._lstm(self._modules.encoder(spectra).squeeze(-1), self._state)
        head: Tensor = self._modules.decoder.decoder(hidden.unsqueeze(-1))
        return head.mean(dim=(1, 2))


def fastest_network(model: Any) -> FramewiseNetwork | BatchedNetwork:
    """The batched network if its output on a test sound is that of ``model``, else frame by frame.

    The modules of ``model`` are not public: another version of silero-vad may have different ones.
    """
    import torch

    framewise = FramewiseNetwork(model)
    # Humming in pulses, 0.4 s: the probabilities range from 0.08 to 0.84.
    time_s = np.arange(12 * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    hum = sum(np.sin(2 * math.pi * 90 * k * time_s) / k for k in range(1, 8))
    pulses = 0.3 * hum * np.abs(np.sin(2 * math.pi * 3 * time_s))
    frames = torch.from_numpy(pulses.astype(np.float32)).view(-1, FRAME_SAMPLES)
    framewise.reset()
    expected = framewise.probabilities(frames)
    framewise.reset()
    try:
        batched = BatchedNetwork(model)
        found = torch.cat([batched.probabilities(part) for part in (frames[:8], frames[8:])])
        largest_error = float((found - expected).abs().max())
        batched.reset()
    except Exception:  # whatever another version lacks, calls frame by frame work
        return framewise
    return batched if largest_error <= 1e-4 else framewise


@contextmanager
def _torch_for_small_input() -> Iterator[None]:
    """Run torch without threads, gradients and TorchScript's optimiser, which cost time here. The
    optimiser takes 60 ms at the first frames; some versions of torch lack it."""
    import torch

    from avsent.machine import one_torch_thread

    optimised = getattr(torch.jit, "optimized_execution", nullcontext)
    with one_torch_thread(), torch.inference_mode(), optimised(False):
        yield


class EnergySpeechDetector:
    """The fallback: speech is louder than the background and not flat noise."""

    name: ClassVar[str] = "energy"
    QUIET_DB = -60.0  # dBFS; anything below is never speech
    FIRST_BACKGROUND_DB = -30.0  # dBFS; assumed until the sound falls lower
    RISE_DB_PER_S = 2.0  # how fast the background follows a rise; it follows a fall at once
    CONTRAST_DB = 12.0  # above the background, where speech has a probability of 0.5
    MAX_FLATNESS = 0.35  # spectral flatness: voices are below 0.2, white noise is at 0.56

    _background_db = FIRST_BACKGROUND_DB

    def reset(self) -> None:
        self._background_db = self.FIRST_BACKGROUND_DB

    def probabilities(self, frames: Samples) -> list[float]:
        return [self._probability(frame) for frame in frames]

    def _probability(self, frame: Samples) -> float:
        # The first difference suppresses rumble and hum.
        level_db = 10 * math.log10(float(power(np.diff(frame))) + 1e-12)
        risen_db = self._background_db + self.RISE_DB_PER_S * FRAME_S
        self._background_db = max(min(level_db, risen_db), self.QUIET_DB)
        spectrum = np.abs(np.fft.rfft(frame * np.hanning(frame.size)))[1:] ** 2 + 1e-12
        flatness = float(np.exp(np.log(spectrum).mean()) / spectrum.mean())
        if level_db <= self.QUIET_DB or flatness > self.MAX_FLATNESS:
            return 0.0
        excess_db = level_db - self._background_db - self.CONTRAST_DB
        return 1 / (1 + math.exp(-excess_db / 3))


def default_detector() -> SpeechDetector:
    """silero-vad, or the energy-based fallback (see ``name``) if it cannot be loaded.

    Raises:
        MemoryError: not enough memory to load it. With the fallback, a batch would silently keep
            a poorer result.
    """
    try:
        return SileroSpeechDetector()
    except MemoryError:
        raise
    except Exception as error:  # another version may fail in any way
        if _out_of_memory(error):
            raise MemoryError("not enough memory to load silero-vad") from error
        return EnergySpeechDetector()


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error`` or a cause of it is lack of memory: torch raises RuntimeError for it, the
    loader of libraries OSError."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if "not enough memory" in text or "cannot allocate memory" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def power(samples: Samples) -> NDArray[np.float64]:
    """Mean square of ``samples`` [..., N], N ≥ 1, over N; full scale is 1."""
    return np.asarray(np.square(samples, dtype=np.float64).mean(axis=-1))
