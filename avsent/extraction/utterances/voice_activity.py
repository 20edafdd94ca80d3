"""How likely sound is speech: the detectors that the utterances rest on."""

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

FRAME_SAMPLES = 512  # the only length silero-vad takes at 16 kHz
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class SpeechDetector(Protocol):
    """Tells how likely each frame of a stream is speech. Holds state: one stream at a time."""

    name: ClassVar[str]

    def reset(self) -> None:
        """Forget the stream so far; the next frame begins a new one."""

    def probabilities(self, frames: Samples) -> list[float]:
        """For each of the next F ≥ 1 frames of the stream, float32 [F, FRAME_SAMPLES], the
        probability (0..1) that it is speech."""


class SileroSpeechDetector:
    """The silero-vad network, with the weights inside its wheel. Raises what loading raises."""

    name: ClassVar[str] = "silero"

    def __init__(self) -> None:
        from avsent.machine import one_torch_thread

        # Importing it sets torch to one thread for good; loading it uses deprecated TorchScript.
        with one_torch_thread(), warnings.catch_warnings():
            said = ".*torch.jit.load.*|path is deprecated.*"
            warnings.filterwarnings("ignore", said, DeprecationWarning)
            from silero_vad import load_silero_vad

            model = load_silero_vad()
        with _small_work():
            self._network = fastest_network(model)

    def reset(self) -> None:
        self._network.reset()

    def probabilities(self, frames: Samples) -> list[float]:
        import torch

        with _small_work():
            return self._network.probabilities(torch.from_numpy(frames)).tolist()


class SileroNetwork(Protocol):
    """A way to run silero-vad's network over a stream; see :class:`SpeechDetector`."""

    def reset(self) -> None: ...

    def probabilities(self, frames: Tensor) -> Tensor:
        """float32 [F, FRAME_SAMPLES], F ≥ 1 → float32 [F]."""


class OneByOne:
    """The wheel's own way: a call for each frame."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def reset(self) -> None:
        self._model.reset_states()

    def probabilities(self, frames: Tensor) -> Tensor:
        import torch

        return torch.cat([self._model(frame, SAMPLE_RATE_HZ).flatten() for frame in frames])


class ManyAtOnce:
    """The parts of the wheel's network, called for all frames together: eight times as fast.

    Each frame is encoded by itself, with a little of the sound before it; only the LSTM behind
    the encoder goes from frame to frame. Raises anything where the parts are other ones.
    """

    def __init__(self, model: Any) -> None:
        import torch

        self._parts = model._model
        self._context = int(self._parts.context_size_samples)
        cell = dict(self._parts.decoder.rnn.named_parameters())
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
        self._before = sound[-self._context :].clone()  # a view would keep all of it alive
        length = frames.shape[1]
        spectra = self._parts.run_extractors(sound.unfold(0, self._context + length, length))
        hidden, self._state = self._lstm(self._parts.encoder(spectra).squeeze(-1), self._state)
        head: Tensor = self._parts.decoder.decoder(hidden.unsqueeze(-1))
        return head.mean(dim=(1, 2))


def fastest_network(model: Any) -> SileroNetwork:
    """All frames at once, where it is seen to give what ``model`` itself gives; else one by one.

    The parts of ``model`` are not its public face: another silero-vad may have other ones.
    """
    import torch

    one_by_one = OneByOne(model)
    # Humming in pulses, 0.4 s: the answers are spread from 0.08 to 0.84, far from sure.
    time_s = np.arange(12 * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    hum = sum(np.sin(2 * math.pi * 90 * k * time_s) / k for k in range(1, 8))
    pulses = 0.3 * hum * np.abs(np.sin(2 * math.pi * 3 * time_s))
    frames = torch.from_numpy(pulses.astype(np.float32)).view(-1, FRAME_SAMPLES)
    one_by_one.reset()
    expected = one_by_one.probabilities(frames)
    one_by_one.reset()
    try:
        many_at_once = ManyAtOnce(model)
        found = torch.cat([many_at_once.probabilities(part) for part in (frames[:8], frames[8:])])
        off = float((found - expected).abs().max())
        many_at_once.reset()
    except Exception:  # whatever another version lacks, its own way works
        return one_by_one
    return many_at_once if off <= 1e-4 else one_by_one


@contextmanager
def _small_work() -> Iterator[None]:
    """Run torch without what costs more than it gives here: threads, gradients, and TorchScript's
    optimiser (60 ms for the first frames, and no faster afterwards; a torch may be without it)."""
    import torch

    from avsent.machine import one_torch_thread

    optimised = getattr(torch.jit, "optimized_execution", nullcontext)
    with one_torch_thread(), torch.inference_mode(), optimised(False):
        yield


class EnergySpeechDetector:
    """The fallback: speech is what stands out of the background and is not flat noise."""

    name: ClassVar[str] = "energy"
    QUIET_DB = -60.0  # dBFS; anything below is never speech
    FIRST_BACKGROUND_DB = -30.0  # dBFS; assumed until the sound is seen to fall lower
    RISE_DB_PER_S = 2.0  # how fast the background follows a rise; a fall it follows at once
    CONTRAST_DB = 12.0  # this far above the background, a frame is as likely speech as not
    MAX_FLATNESS = 0.35  # spectral flatness: voices are below 0.2, white noise is at 0.56

    _background_db = FIRST_BACKGROUND_DB

    def reset(self) -> None:
        self._background_db = self.FIRST_BACKGROUND_DB

    def probabilities(self, frames: Samples) -> list[float]:
        return [self._probability(frame) for frame in frames]

    def _probability(self, frame: Samples) -> float:
        # The level of the first difference leaves out rumble and hum.
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
        MemoryError: there is not enough memory to load it. The fallback would hide that, and a
            batch would keep the poorer result.
    """
    try:
        return SileroSpeechDetector()
    except MemoryError:
        raise
    except Exception as error:  # another version may fail in any way, and the fallback works
        if _out_of_memory(error):
            raise MemoryError("not enough memory to load silero-vad") from error
        return EnergySpeechDetector()


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error`` or a cause of it says so. torch raises RuntimeError, the loader OSError."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if "not enough memory" in text or "cannot allocate memory" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def power(samples: Samples) -> NDArray[np.float64]:
    """The mean square of float [..., N], N ≥ 1, over N, with full scale at 1."""
    return np.asarray(np.square(samples, dtype=np.float64).mean(axis=-1))
