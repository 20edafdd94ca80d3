"""Speech for the demo: espeak-ng with a prosody per sentence, and the mouth opening it causes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE_HZ = 22050  # espeak-ng's output rate
VOICE = "en-us+f2"
EDGE_LEVEL = 0.004  # of full scale; quieter samples at both ends count as silence
FADE_S = 0.01
ENVELOPE_WINDOW_S = 0.05
ENVELOPE_TOP_PERCENT = 92.0
MOUTH_CLOSED_BELOW = 0.12  # of the loudest; below it the lips are shut
MISSING = """espeak-ng is needed to make the demo's speech. Install it with one of:
  sudo apt-get install espeak-ng      (Debian, Ubuntu)
  sudo dnf install espeak-ng          (Fedora)
  brew install espeak-ng              (macOS)
  winget install eSpeak-NG.eSpeak-NG  (Windows)"""


@dataclass(frozen=True)
class Prosody:
    """Prosody of a sentence. Percentages are relative to the voice's own values."""

    pitch_change_percent: int = 0
    pitch_range_percent: int = 100
    rate_percent: int = 100
    gain_db: float = 0.0  # applied here: espeak-ng's own volume hardly changes the level

    def ssml(self, text: str) -> str:
        """The sentence with its prosody as SSML."""
        return (
            f'<prosody pitch="{self.pitch_change_percent:+d}%" '
            f'range="{self.pitch_range_percent}%" rate="{self.rate_percent}%">'
            f"{text}</prosody>"
        )


def say(text: str, prosody: Prosody) -> Samples:
    """Render a sentence: mono at RATE_HZ [N], without silence at its ends."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(
            [program, "-m", "-v", VOICE, "-w", str(path), prosody.ssml(text)], check=True
        )
        with wave.open(str(path)) as sound:
            if (sound.getframerate(), sound.getnchannels()) != (RATE_HZ, 1):
                raise SystemExit(f"espeak-ng wrote something other than mono at {RATE_HZ} Hz")
            pcm = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    speech = pcm.astype(np.float32) / 32768.0
    heard = np.flatnonzero(np.abs(speech) > EDGE_LEVEL)
    speech = speech[heard[0] : heard[-1] + 1].copy()
    fade = int(FADE_S * RATE_HZ)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    speech[:fade] *= ramp
    speech[-fade:] *= ramp[::-1]
    return speech * np.float32(10.0 ** (prosody.gain_db / 20.0))


def mouth_openings(speech: Samples, frames: int, rate_fps: int) -> NDArray[np.float64]:
    """Mouth opening at each video frame, 0 to 1, from the loudness of the speech [frames]."""
    half = int(ENVELOPE_WINDOW_S * RATE_HZ / 2)
    # Padded so that every frame has a full window, also the last one after the speech.
    padded = np.pad(speech.astype(np.float64), (half, half + 2 * RATE_HZ // rate_fps))
    centres = (np.arange(frames) * RATE_HZ / rate_fps).astype(int)
    loud = np.array([np.sqrt(np.mean(padded[c : c + 2 * half] ** 2)) for c in centres])
    loud /= max(np.percentile(loud[loud > 0.0], ENVELOPE_TOP_PERCENT), 1e-9)
    opening = np.clip((loud - MOUTH_CLOSED_BELOW) / (1.0 - MOUTH_CLOSED_BELOW), 0.0, 1.0)
    return np.convolve(np.pad(opening, 1), [0.22, 0.56, 0.22], mode="valid")
