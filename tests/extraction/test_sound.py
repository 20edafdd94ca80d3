"""Sound as a listener hears it: offset, hum, level, channels; and faces that do not speak."""

import itertools
import math
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import FakeStream, play, read, sound_of
from numpy.typing import NDArray

from avsent.extraction.extractor import FeatureConfig, FileFacts, UtteranceFeatures, extract_file
from avsent.extraction.features.quality import voice_quality
from avsent.extraction.media.audio import Downmix, HighPass, SoundTrack
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Sound
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.utterances.segmentation import Segment, SileroSpeechDetector, SpeechSegmenter
from avsent.options import FaceChoice, PredictOptions

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def db(level: float) -> float:
    return float(10 ** (level / 20))


def sine(hz: float, seconds: float = 2.0) -> Array:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)


def noise(level_db: float, samples: int) -> Array:
    return db(level_db) * RNG.normal(size=samples)


def write_wav(path: Path, channels: Array) -> Path:
    """PCM [C, N] without a channel mask, as field recorders write it."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes(np.round(channels.T.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def extracted(path: Path, **options: Any) -> tuple[list[UtteranceFeatures], FileFacts]:
    found: list[UtteranceFeatures] = []
    facts = extract_file(path, FeatureConfig(), found.append, PredictOptions(**options))
    return found, facts


# --- High-pass filter -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hz", "least_db", "most_db"),
    [(20, -99, -39), (50, -99, -39), (60, -30, -24), (80, -0.2, 0), (120, -0.2, 0), (900, -0.2, 0)],
)
def test_hum_goes_and_voices_stay(hz: float, least_db: float, most_db: float) -> None:
    tone = sine(hz).astype(np.float32)
    left = HighPass()(tone)[SAMPLE_RATE_HZ:]
    level_db = 20 * np.log10(left.std() / tone.std())
    assert least_db <= level_db <= most_db + 0.01


def test_an_offset_is_gone_from_the_first_sample() -> None:
    filtered = HighPass()(np.full(3000, 0.05, np.float32))
    assert np.abs(filtered).max() < 1e-6


@given(st.lists(st.integers(1, 999), max_size=8))
def test_the_chunks_change_no_bit_of_the_filtered_sound(cuts: list[int]) -> None:
    sound, chunked = np.float32(np.random.default_rng(1).normal(size=1000)), HighPass()
    edges = [0, *sorted(set(cuts)), 1000]
    parts = [chunked(sound[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), HighPass()(sound))


def test_clipping_is_seen_before_the_filter() -> None:
    square = np.sign(sine(110)).astype(np.float32)
    assert "clipped" in (voice_quality(HighPass()(square), square).fault or "")


# --- Channels -------------------------------------------------------------------------------------


def mixed(channels: Array, sizes: int = 3200) -> Array:
    mix = Downmix()
    parts = np.split(channels.astype(np.float32), range(sizes, channels.shape[1], sizes), axis=1)
    return np.concatenate([mix(part) for part in parts])


@pytest.mark.parametrize("right", [1.0, 0.5, 0.0, -0.2])
def test_ordinary_stereo_is_the_mean_to_the_bit(right: float) -> None:
    left = noise(-20, 16_000)
    channels = np.stack([left, right * left]).astype(np.float32)
    np.testing.assert_array_equal(mixed(channels), channels.mean(axis=0))


@pytest.mark.parametrize("right", [-1.0, -0.9, -0.6])
def test_opposite_phase_does_not_cancel(right: float) -> None:
    left = noise(-20, 16_000)
    level = mixed(np.stack([left, right * left])).std() / left.std()
    assert level == pytest.approx(1, abs=0.05)
    offset = np.array([[0.1], [-0.1]])  # cancels, too
    both = np.stack([left, right * left])
    assert mixed(both + offset).std() / left.std() == pytest.approx(1, abs=0.05)


def test_opposite_phase_for_a_part_makes_no_click() -> None:
    tone, phase = 0.3 * sine(200), np.ones(2 * SAMPLE_RATE_HZ)
    phase[9_000:20_000] = -1
    mix = mixed(np.stack([tone, phase * tone]))
    stretches = mix.reshape(-1, 800).std(axis=1)
    assert stretches[13:24].min() > 0.9 * tone.std()
    inside = np.delete(np.abs(np.diff(mix)), [8_999, 19_999])  # where the source itself jumps
    assert inside.max() < 1.2 * np.abs(np.diff(tone)).max()


@pytest.mark.parametrize(("count", "place"), [(3, 2), (4, 3), (6, 3), (7, 0), (8, 7), (12, 5)])
def test_no_channel_is_dropped(count: int, place: int, tmp_path: Path) -> None:
    channels = np.stack([noise(-80, 16_000) for _ in range(count)])
    channels[place] += 0.3 * sine(440, 1.0)
    _, events = read(write_wav(tmp_path / "many.wav", channels))
    _, samples = sound_of(events)
    assert samples.std() > (0.3 / np.sqrt(2)) / 3.2


@pytest.mark.parametrize("sizes", [(160, 1024), (333, 4800)])
def test_the_packets_change_no_bit_of_the_mix(sizes: tuple[int, int]) -> None:
    left = noise(-20, 48_000)
    right = np.where(np.arange(48_000) // 12_000 % 2, -left, left)
    both = np.ascontiguousarray(np.stack([left, right]), np.float32)

    def heard(size: int) -> Array:
        frames = []
        for start in range(0, 48_000, size):
            part = np.ascontiguousarray(both[:, start : start + size])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, start
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            frames.append(frame)
        return sound_of(play(SoundTrack(FakeStream(), 0.0), frames))[1]

    one, two = (heard(size) for size in sizes)
    np.testing.assert_array_equal(one, two)


# --- Level ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silero() -> SileroSpeechDetector:
    return SileroSpeechDetector()


@pytest.fixture(scope="module")
def talk(clips: Path) -> Array:
    """6.6 s of one talker, of whom the detector makes one utterance."""
    with MediaReader(clips / "talk_700.mp4") as reader:
        return np.concatenate([e.samples for e in reader.in_colour([]) if isinstance(e, Sound)])


def found_in(sound: Array, detector: SileroSpeechDetector) -> list[Segment]:
    segmenter = SpeechSegmenter(detector)
    return segmenter.push(0.0, HighPass()(np.float32(sound))) + segmenter.flush()


@pytest.mark.parametrize("level_db", [-10, -20, -30, -40, -50])
def test_quiet_speech_is_found_whole(
    level_db: float, talk: Array, silero: SileroSpeechDetector
) -> None:
    (one,) = found_in(talk * db(level_db), silero)
    assert one.start_s < 0.35
    assert one.end_s == pytest.approx(6.6, abs=0.1)


@pytest.mark.parametrize("level_db", [-90, -70, -62, -50, -20])
def test_noise_alone_is_not_called_speech(level_db: float, silero: SileroSpeechDetector) -> None:
    for sound in (noise(level_db, 160_000), db(level_db) * sine(50, 10.0)):
        assert found_in(sound, silero) == []


def test_a_click_before_quiet_speech_does_not_hide_it(
    talk: Array, silero: SileroSpeechDetector
) -> None:
    quiet = np.concatenate([np.zeros(16_000), talk * db(-40)])
    quiet[4_000:4_400] = 0.5
    speech = [one for one in found_in(quiet, silero) if one.end_s > 1]
    assert sum(one.end_s - one.start_s for one in speech) > 5.5


SPOILT: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda talk: talk[None],
    "offset": lambda talk: talk[None] + 0.05,
    "hum of 50 Hz": lambda talk: (talk + db(-25) * sine(50, 9.0)[: talk.size])[None],
    "rumble": lambda talk: (talk + db(-15) * sine(17, 9.0)[: talk.size])[None],
    "opposite phase": lambda talk: np.stack([talk, -talk]),
    "one of four": lambda talk: np.stack([0 * talk, 0 * talk, 0 * talk, talk]),
    "left only": lambda talk: np.stack([talk, 0 * talk]),
    "quiet, offset": lambda talk: talk[None] * db(-40) + 0.3,
    "quiet, opposite phase": lambda talk: np.stack([talk, -talk]) * db(-40),
}


@pytest.fixture(scope="module")
def plain(talk: Array, tmp_path_factory: pytest.TempPathFactory) -> UtteranceFeatures:
    ((one,), _) = extracted(write_wav(tmp_path_factory.mktemp("talk") / "a.wav", talk[None]))
    return one


@pytest.mark.parametrize("kind", SPOILT)
def test_the_voice_stays_what_it_is(
    kind: str, talk: Array, plain: UtteranceFeatures, tmp_path: Path
) -> None:
    (one,), facts = extracted(write_wav(tmp_path / "spoilt.wav", SPOILT[kind](talk)))
    assert facts.warnings == one.warnings == ()
    assert not facts.silent
    assert one.segment.start_s == pytest.approx(plain.segment.start_s, abs=0.1)
    assert one.audio is not None
    assert plain.audio is not None
    assert one.audio.prosody is not None
    np.testing.assert_allclose(one.audio.prosody, plain.audio.prosody, rtol=0.2, atol=0.5)


@pytest.mark.parametrize("level_db", [-20, -40])
def test_a_quiet_file_is_neither_silent_nor_judged_twice(
    level_db: float, talk: Array, tmp_path: Path
) -> None:
    utterances, facts = extracted(write_wav(tmp_path / "quiet.wav", (talk * db(level_db))[None]))
    assert not facts.silent
    assert facts.warnings == ()
    assert all(one.audio is not None and not one.provisional for one in utterances)


# --- Faces that speak, and faces that do not ------------------------------------------------------


def film(
    source: Path,
    target: Path,
    sound: Array,
    *,
    still: bool,
    seconds: float = 5.0,
    frozen_s: float = math.inf,
    every: int = 1,
) -> Path:
    """The pictures of ``source``, or only its first one, or the same from ``frozen_s`` on, one of
    ``every`` so many, with another sound [N]."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures: Any = after.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        pictures.width, pictures.height, pictures.pix_fmt = 320, 320, "yuv420p"
        audio: Any = after.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono")
        first = None
        for number, frame in enumerate(before.decode(video=0)):
            if number >= seconds * 25:
                break
            first = first if first and (still or number > frozen_s * 25) else frame
            if number % every:
                continue
            shown = first.reformat(320, 320, "yuv420p")
            shown.pts, shown.time_base = number, Fraction(1, 25)
            after.mux(pictures.encode(shown))
        after.mux(pictures.encode(None))
        heard = np.round(sound[: round(seconds * SAMPLE_RATE_HZ)].clip(-1, 1) * 32767)
        for start in range(0, heard.size, 4096):
            part = heard[None, start : start + 4096].astype(np.int16)
            piece = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            piece.sample_rate, piece.pts = SAMPLE_RATE_HZ, start
            after.mux(audio.encode(piece))
        after.mux(audio.encode(None))
    return target


def test_a_photo_does_not_speak(clips: Path, talk: Array, tmp_path: Path) -> None:
    source = clips / "speech_closeup_512.mp4"
    photo = film(source, tmp_path / "photo.mkv", talk, still=True)
    (one, *_), facts = extracted(photo)
    assert (one.face, one.track) == (None, None)
    assert one.audio is not None
    assert one.warnings == ("its mouth never moves: the face is not used",)
    assert len(facts.tracks) == 1
    (one, *_), _ = extracted(photo, face=FaceChoice.largest)  # as asked for
    assert one.face is not None


STILL = "its mouth never moves: the face is not used"


def test_a_photo_of_one_picture_a_second_does_not_speak(
    clips: Path, talk: Array, tmp_path: Path
) -> None:
    source = clips / "speech_closeup_512.mp4"
    slow = film(source, tmp_path / "slow.mkv", talk, still=True, every=25)
    (one, *_), _ = extracted(slow)
    assert (one.face, one.warnings) == (None, (STILL,))


def test_a_picture_that_freezes_does_not_speak(clips: Path, talk: Array, tmp_path: Path) -> None:
    source = clips / "speech_closeup_512.mp4"
    path = film(source, tmp_path / "frozen.mkv", talk, still=False, seconds=6.0, frozen_s=2.5)
    (tmp_path / "given.csv").write_text("start_s,end_s\n0,2.4\n2.8,6\n")
    (moving, frozen), _ = extracted(path, utterances=tmp_path / "given.csv")
    assert moving.face is not None
    assert (frozen.face, frozen.warnings) == (None, (STILL,))


def test_a_quiet_film_is_judged_once(clips: Path, talk: Array, tmp_path: Path) -> None:
    source = clips / "speech_closeup_512.mp4"
    utterances, facts = extracted(film(source, tmp_path / "quiet.mkv", talk * db(-40), still=True))
    assert not facts.silent
    assert facts.warnings == ()
    spoken = [one for one in utterances if not one.provisional]
    assert all(one.audio is not None for one in spoken)
    assert spoken[0].segment.start_s < 0.35


def test_a_talking_face_under_noise_is_judged_by_the_face(clips: Path, tmp_path: Path) -> None:
    loud = noise(-20, 5 * SAMPLE_RATE_HZ)
    source = clips / "speech_closeup_512.mp4"
    (one,), facts = extracted(film(source, tmp_path / "noise.mkv", loud, still=False))
    assert one.provisional
    assert one.speaks
    assert one.audio is None
    assert one.face is not None
    assert not facts.silent
    (warning,) = facts.warnings
    assert warning == (
        "no speech is heard, but a mouth moves: judged by the face alone, in windows of at most 8 s"
    )
    nobody, facts = extracted(film(source, tmp_path / "photo.mkv", loud, still=True))
    assert nobody == []
    assert facts.warnings == ("no speech found: no utterances; give your own with --utterances",)


# --- Damage ---------------------------------------------------------------------------------------


def test_many_damaged_places_are_one_warning(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mka"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono")
        for number in range(60):
            part = RNG.integers(-3000, 3000, (1, 4608)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, number * 4608
            for packet in stream.encode(frame):
                spoilt = packet
                if number % 2:
                    spoilt = av.Packet(b"\0" * packet.size)
                    spoilt.pts, spoilt.dts = packet.pts, packet.dts
                    spoilt.time_base, spoilt.stream = packet.time_base, stream
                out.mux(spoilt)
    _, facts = extracted(path)
    damage = [warning for warning in facts.warnings if warning.startswith("sound")]
    assert len(damage) == 1
    assert "the first of 30 places: a stretch of sound does not decode" in damage[0]
