"""What ``avsent doctor`` checks, in this order.

Each step imports what it looks at itself: it may be missing or broken. A step yields its findings,
and raises where the thing does not work.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import avsent
from avsent.machine import WORKER_BYTES, usable_bytes, usable_cores

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
SPARE_DISK_BYTES = 1_000_000_000
MAX_REASON_CHARACTERS = 300
CLIP_RATE_HZ, CLIP_FRAMES_PER_S = 16_000, 25
VIDEO_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video")
DECODERS = (*VIDEO_CODECS, "aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le")
ENCODERS = ("h264", "aac")
CODEC_NAMES = {("av1", "r"): ("libdav1d", "libaom-av1"), ("h264", "w"): ("libx264",)}
"""Where FFmpeg has others of that name that will not do: its own "av1" needs a GPU."""
OPTIONAL = (
    ("pyarrow", "pyarrow", "parquet", "tables of a batch as Parquet"),
    ("ray", "ray", "ray", "batches on a cluster"),
    ("pandas", "pandas", "pandas", "Result.to_dataframe()"),
    ("sentence-transformers", "sentence_transformers", "text", "text encoders for training"),
)
"""Distribution, module, avsent's extra and its use."""
BUG = "run again with --debug for the traceback, and report it"

State: TypeAlias = Literal["ok", "warning", "failed", "absent", "skipped"]
"""``failed``: predict cannot work; ``absent``: optional; ``skipped``: needs what failed before."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, and what to do about it (``advice``, empty where nothing is wrong)."""

    name: str
    state: State
    found: str
    advice: str = ""


Found: TypeAlias = tuple[State, str] | tuple[State, str, str] | Check
"""State, what was found, advice; or a check that has a name of its own."""
Look: TypeAlias = Callable[..., Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Step:
    """A look at one thing, which gives one check or more.

    ``advice``: where ``look`` raises. ``needed``: by every prediction; otherwise an error is a
    warning. ``needs``: names of steps. ``on_device``: ``look`` takes the device of predictions.
    """

    name: str
    look: Look
    advice: str
    needed: bool = True
    needs: tuple[str, ...] = ()
    on_device: bool = False

    def take(
        self, device: str = "auto", broken: Collection[str] = (), *, debug: bool = False
    ) -> list[Check]:
        """The checks; ``broken``: names of the steps that failed before."""
        if missing := [name for name in self.needs if name in broken]:
            return [Check(self.name, "skipped", f"needs {' and '.join(missing)}, see above")]
        checks: list[Check] = []
        try:
            for found in self.look(device) if self.on_device else self.look():
                checks.append(found if isinstance(found, Check) else Check(self.name, *found))
        except Exception as error:
            if debug:
                traceback.print_exception(error)
            text, kind = " ".join(str(error).split()), type(error).__name__
            reason = text if text and isinstance(error, ImportError) else f"{kind}: {text}"
            checks.append(self.failure(reason.rstrip(": ")))
        return checks

    def failure(self, reason: str) -> Check:
        """The check where the look itself failed."""
        if len(reason) > MAX_REASON_CHARACTERS:
            reason = reason[: MAX_REASON_CHARACTERS - 1] + "…"
        return Check(self.name, "failed" if self.needed else "warning", reason, self.advice)


STEPS: list[Step] = []


def is_broken(checks: Collection[Check]) -> bool:
    """Whether a step that needs the one with these checks cannot succeed."""
    return any(check.state in ("failed", "skipped") for check in checks)


def step(name: str, advice: str = "", **options: Any) -> Callable[[Look], Look]:
    """Add the decorated function to the steps; by default its advice is to reinstall ``name``."""

    def add(look: Look) -> Look:
        STEPS.append(Step(name, look, advice or reinstall(name), **options))
        return look

    return add


def reinstall(*names: str) -> str:
    return f"pip install --force-reinstall {' '.join(names)}"


def library(
    module: str, *names: str, probe: Callable[[Any], str] = lambda _: "", **options: Any
) -> None:
    """Add a step that imports ``module``. ``names``: the distributions that may have brought it,
    avsent's requirement first; ``probe``: tries it, and tells more about it."""

    @step(names[0], **options)
    def look() -> Iterator[Found]:
        loaded = import_module(module)
        yield judged(str(loaded.__version__), *names, about=probe(loaded))


def judged(version: str, *names: str, about: str = "") -> Found:
    """What to report of a library that loads: whether avsent works with its version."""
    found, name = list(installed(*names)), names[0]
    if len(found) > 1:
        problem = f"{' and '.join(found)} are both installed and overwrite each other"
        advice = f"pip uninstall {' '.join(found)}, then pip install {name}"
        return "warning", f"{version}{about}; {problem}", advice
    wanted = required(name)
    if not fits(version, wanted):
        problem = f"avsent is made for {wanted}"
        return "warning", f"{version}{about}; {problem}", f"pip install '{name}{wanted}'"
    return "ok", f"{version}{about}"


def installed(*names: str) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    found = {name: islice(metadata.distributions(name=name), 1) for name in names}
    return {name: one.version for name, first in found.items() for one in first}


def required(name: str) -> str:
    """The versions avsent requires of a distribution, as ``>=4.10,<5``; empty for any."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    with suppress(metadata.PackageNotFoundError):
        for asked in map(Requirement, metadata.requires("avsent") or []):
            of_extra = asked.marker is not None and not asked.marker.evaluate({"extra": ""})
            if canonicalize_name(asked.name) == canonicalize_name(name) and not of_extra:
                return ",".join(sorted(map(str, asked.specifier), reverse=True))
    # avsent itself may not be installed: a checkout run by ``cli.py``.
    return "<5" if name == "opencv-python-headless" else ""


def fits(version: str, wanted: str) -> bool:
    """Whether a release, or a build or pre-release of it, is in a range such as ``>=4.10,<5``."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    with suppress(InvalidVersion):
        return SpecifierSet(wanted).contains(Version(version).base_version)
    return True


# --- the machine ----------------------------------------------------------------------------------


@step("machine", BUG, needed=False)
def look_at_machine(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Found]:
    """avsent, Python, cores and memory as far as a container may use them, and free disk."""
    yield Check("avsent", "ok", f"{avsent.__version__} in {Path(avsent.__file__).resolve().parent}")
    supported = "{}.{} to {}.{}".format(*OLDEST_PYTHON, *NEWEST_PYTHON)
    system = f"{platform.system()} {platform.machine()}"
    found = f"{platform.python_version()} ({platform.python_implementation()}, {system})"
    if version < OLDEST_PYTHON:
        advice = f"install avsent into an environment of Python {supported}"
        yield Check("Python", "failed", found, advice)
    elif version > NEWEST_PYTHON:
        yield Check("Python", "warning", found, f"avsent is tested with Python {supported}")
    else:
        yield Check("Python", "ok", found)
    cores, memory = usable_cores(), usable_bytes()
    free = "memory unknown" if memory is None else f"{_gigabytes(memory)} free"
    found = f"{_counted(cores, 'core')}, {free}"
    advice = f"a video takes about {_gigabytes(WORKER_BYTES)}; close other programs"
    yield _enough("cores, memory", found, memory is None or memory >= WORKER_BYTES, advice)
    disk = shutil.disk_usage(Path.cwd()).free
    advice = "results may not fit: free some disk, or give -o elsewhere"
    yield _enough("current folder", f"{_gigabytes(disk)} free", disk >= SPARE_DISK_BYTES, advice)


@step("temporary folder", "set TMPDIR to a folder that can be written", needed=False)
def look_at_temporary_folder() -> Iterator[Found]:
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile():
        free = shutil.disk_usage(folder).free
    found, advice = f"{_gigabytes(free)} free in {folder}", "free some disk, or set TMPDIR"
    yield _enough("temporary folder", found, free >= SPARE_DISK_BYTES, advice)


def _enough(name: str, found: str, enough: bool, advice: str) -> Check:
    return Check(name, "ok", found) if enough else Check(name, "warning", found, advice)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def look_at_terminal(stream: TextIO) -> Check:
    """Whether ``stream`` takes any script; not a step, as another process takes those."""
    encoding = getattr(stream, "encoding", None) or "unknown"
    found = f"{'terminal' if stream.isatty() else 'file or pipe'}, {encoding}"
    if encoding.lower().replace("-", "") in {"utf8", "utf8sig"}:
        return Check("output", "ok", found)
    advice = "names in other scripts are shown as escapes; set PYTHONUTF8=1"
    return Check("output", "warning", found, advice)


# --- libraries and media --------------------------------------------------------------------------


library("numpy", "numpy")
library("torch", "torch", probe=lambda torch: f", built for {_cuda_of(torch)}")


def _cuda_of(torch: Any) -> str:
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU alone"


@step("device", "give --device cpu, or mend the driver or torch", needs=("torch",), on_device=True)
def look_at_device(device: str) -> Iterator[Found]:
    """Whether torch computes there what it computes on the CPU."""
    import torch

    auto = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.device(auto if device == "auto" else device)
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 16, 16, generator=generator)
    kernel = torch.rand(4, 3, 3, 3, generator=generator)
    expected = torch.conv2d(picture, kernel).flatten(1).softmax(1)
    given = torch.conv2d(picture.to(where), kernel.to(where)).flatten(1).softmax(1).cpu()
    if not torch.allclose(given, expected, atol=1e-3):
        raise RuntimeError(f"{where} computes something else than the CPU")
    gpu_files = sys.platform == "linux" and any(Path("/dev").glob("nvidia[0-9]*"))
    if where.type == "cuda":
        gpu = torch.cuda.get_device_properties(where).name
        free, total = map(_gigabytes, torch.cuda.mem_get_info(where))
        cudnn: Any = torch.backends.cudnn
        versions = f"{_cuda_of(torch)}, cuDNN {cudnn.version()}"
        yield "ok", f"{where}: {gpu}, {free} of {total} free, {versions}"
    elif device == "auto" and (gpu_files or shutil.which("nvidia-smi")):
        build = "install a build of torch with CUDA (pytorch.org)"
        driver = "update the NVIDIA driver, or let the container see the GPU (--gpus all)"
        yield "warning", "cpu, though there is a GPU", driver if torch.version.cuda else build
    else:
        yield "ok", f"cpu, {_counted(torch.get_num_threads(), 'thread')}"


library("safetensors", "safetensors")
library("av", "av", probe=lambda av: f", FFmpeg {av.ffmpeg_version_info}")


@step("decoders", reinstall("av"), needs=("av",))
def look_at_codecs() -> Iterator[Found]:
    """The usual codecs of videos and sound files, and those that ``--annotate`` writes."""
    yield _codecs("decoders", DECODERS, "r", f"convert such files, or {reinstall('av')}")
    yield _codecs("encoders", ENCODERS, "w", f"--annotate needs them: {reinstall('av')}")


def _codecs(name: str, codecs: Collection[str], mode: Literal["r", "w"], advice: str) -> Check:
    import av

    there = []
    for codec in codecs:
        for own_name in CODEC_NAMES.get((codec, mode), (codec,)):
            with suppress(ValueError):
                av.Codec(own_name, mode)
                there.append(codec)
                break
    verb, missing = (
        "read" if mode == "r" else "write",
        ", ".join(c for c in codecs if c not in there),
    )
    have = ", ".join(there)
    problem = f"cannot {verb} {missing}; can {verb} {have or 'nothing'}"
    return _enough(name, problem if missing else have, not missing, advice)


@step("round trip", reinstall("av"), needs=("av", "numpy"))
def look_at_round_trip() -> Iterator[Found]:
    """One second of picture and sound, encoded and decoded in memory."""
    import av

    memory = BytesIO()
    write_clip(memory, 1)
    memory.seek(0)
    with av.open(memory, "r") as container:
        decoded: list[Any] = list(container.decode())
    frames = sum(isinstance(frame, av.VideoFrame) for frame in decoded)
    samples = sum(frame.samples for frame in decoded if isinstance(frame, av.AudioFrame))
    if frames != CLIP_FRAMES_PER_S or samples < CLIP_RATE_HZ:
        raise RuntimeError(f"of one second came back {frames} pictures and {samples} samples")
    yield "ok", f"{frames} pictures and {samples:,} samples came back"


def write_clip(target: Any, seconds: int) -> None:
    """Write an MP4 of a grey picture and a hum in syllables to a path or an open file, with
    encoders that every FFmpeg has."""
    import av
    import numpy as np

    times_s = np.arange(seconds * CLIP_RATE_HZ) / CLIP_RATE_HZ
    hum = sum(np.sin(2 * np.pi * 150 * n * times_s) / n for n in range(1, 12))
    sound = 0.3 * hum * np.clip(np.sin(2 * np.pi * 4 * times_s), 0.01, 1)
    with av.open(target, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=CLIP_FRAMES_PER_S)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio = container.add_stream("aac", rate=CLIP_RATE_HZ, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 128, dtype=np.uint8))
        for number in range(seconds * CLIP_FRAMES_PER_S):
            picture.pts = number
            container.mux(video.encode(picture))
        voice = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], "fltp", "mono")
        voice.sample_rate = CLIP_RATE_HZ
        container.mux([*video.encode(None), *audio.encode(voice), *audio.encode(None)])


def _probe_opencv(cv2: Any) -> str:
    import numpy as np

    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    half = cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA)
    turned = cv2.warpAffine(picture, np.eye(2, 3), (8, 8), flags=cv2.INTER_LINEAR)
    if half.shape != (4, 4) or not np.array_equal(turned, picture):
        raise RuntimeError("resize and warpAffine do not what they did")
    return ""


def _cuda_of_dlib(dlib: Any) -> str:
    cuda = dlib.DLIB_USE_CUDA
    return f", with CUDA, {dlib.cuda.get_num_devices()} GPUs" if cuda else ", without CUDA"


library(
    "cv2",
    *("opencv-python-headless", "opencv-python"),
    *("opencv-contrib-python-headless", "opencv-contrib-python"),
    probe=_probe_opencv,
    advice=reinstall("'opencv-python-headless<5'"),
    needs=("numpy",),
)
library("dlib", "dlib-bin", "dlib", probe=_cuda_of_dlib)


# --- avsent's parts at work -----------------------------------------------------------------------


@step("face models", BUG, needs=("opencv-python-headless",))
def look_at_face_models() -> Iterator[Found]:
    from avsent.extraction.faces.detection import NETWORK_FILE
    from avsent.extraction.faces.landmarks import PREDICTOR_FILE, model_file

    landmarks, advice = model_file(PREDICTOR_FILE), reinstall("face_recognition_models")
    if landmarks is None:
        advice += ", or give your own with --landmarks"
        yield "failed", f"{PREDICTOR_FILE} is not there", advice
    elif model_file(NETWORK_FILE) is None:
        yield "warning", f"{NETWORK_FILE} is not there: turned faces are missed", advice
    else:
        yield "ok", f"landmarks and detector in {landmarks.parent}"


@step(
    "face detection",
    reinstall("dlib-bin", "face_recognition_models"),
    needs=("opencv-python-headless", "dlib-bin", "face models"),
)
def look_for_faces() -> Iterator[Found]:
    """Both detectors and the landmarks, on a picture without a face."""
    import numpy as np

    from avsent.extraction.faces.detection import FaceDetector
    from avsent.extraction.faces.landmarks import LandmarkPredictor

    picture = np.full((240, 320), 128, dtype=np.uint8)
    detector = FaceDetector()
    if found := [*detector.whole(picture, 320), *detector.network_whole(picture)]:
        raise RuntimeError(f"{len(found)} faces were found in an empty picture")
    points = LandmarkPredictor()(picture, (100.0, 60.0, 200.0, 160.0))
    if not np.isfinite(points).all():
        raise RuntimeError("landmarks are no numbers")
    yield "ok", f"detectors and {len(points)} landmarks at work"


@step("librosa", needs=("numpy", "av"))
def look_at_librosa() -> Iterator[Found]:
    """It loads, finds a folder for what numba compiles, and makes a spectrogram."""
    from avsent.extraction.features.numba_cache import VARIABLE, ensure_numba_cache

    own = os.environ.get(VARIABLE)
    ensure_numba_cache()
    folder = os.environ.get(VARIABLE)
    import numpy as np

    from avsent.extraction.features.spectrogram import AudioConfig, mel_power

    power = mel_power(np.sin(np.arange(16_000, dtype=np.float32)), AudioConfig())
    if not np.isfinite(power).all() or power.max() <= 0:
        raise RuntimeError("the spectrogram of a tone is empty")
    version = installed("librosa").get("librosa", "version unknown")
    if folder is not None and own is None:
        advice = f"each start compiles anew; set {VARIABLE} to a folder that can be written"
        yield "warning", f"{version}, no folder for numba's cache", advice
    else:
        where = folder or "beside librosa, or in your home folder"
        yield judged(version, "librosa", about=f", numba's cache: {where}")


@step(
    "silero-vad",
    f"speech is told by its loudness instead, less well; {reinstall('silero-vad')}",
    needed=False,
    needs=("numpy", "torch", "av"),
)
def look_for_speech() -> Iterator[Found]:
    """It loads, and hears nothing in silence."""
    import numpy as np

    from avsent.extraction.utterances.voice_activity import FRAME_SAMPLES, SileroSpeechDetector

    detector = SileroSpeechDetector()
    detector.reset()
    if max(detector.probabilities(np.zeros((31, FRAME_SAMPLES), dtype=np.float32))) >= 0.5:
        raise RuntimeError("it hears speech in silence")
    yield "ok", f"{installed('silero-vad').get('silero-vad', 'version unknown')}, loaded"


@step("models", "install avsent again", needs=("numpy", "torch", "safetensors"))
def look_at_models() -> Iterator[Found]:
    """Each shipped model: its SHA-256, and whether it can be loaded."""
    from avsent.model.index import DEFAULT, verify_folder

    models = verify_folder()
    for model in models:
        if model.state == "fine":
            yield Check(f"model {model.name}", "ok", model.detail)
            continue
        # A prediction that names no model needs the default alone.
        state: State = "failed" if model.name == DEFAULT else "warning"
        reason, _, advice = model.detail.rpartition("; ")
        found = f"{model.state}: {reason or model.detail}"
        yield Check(f"model {model.name}", state, found, advice)
    if DEFAULT not in [model.name for model in models]:
        yield Check(f"model {DEFAULT}", "failed", "not there", "install avsent again")


_NEEDS = ("device", "round trip", "librosa", "face detection", "models")


@step("prediction", BUG, needs=_NEEDS, on_device=True)
def look_at_prediction(device: str) -> Iterator[Found]:
    """The whole way, for one utterance of a made-up clip without a face."""
    from avsent.options import PredictOptions
    from avsent.predictor import predict

    with tempfile.TemporaryDirectory(prefix="avsent-doctor-") as folder:
        clip, utterances = Path(folder, "clip.mp4"), Path(folder, "utterances.csv")
        write_clip(clip, 2)
        utterances.write_text("start_s,end_s\n0.2,1.8\n", encoding="utf-8")
        result = predict(clip, device=device, options=PredictOptions(utterances=utterances))
    if len(result.utterances) != 1:
        raise RuntimeError(f"{len(result.utterances)} utterances came of one")
    (utterance,) = result.utterances
    if not utterance.modalities["audio"].effective:
        raise RuntimeError("the voice of a clip with sound counted as missing")
    total = sum(utterance.probabilities.values())
    if not math.isclose(total, 1.0, abs_tol=1e-3):
        raise RuntimeError(f"probabilities sum to {total:.3f}")
    yield "ok", "a made-up clip was judged by its sound"


# --- what only some commands need -----------------------------------------------------------------

library("matplotlib", "matplotlib", needed=False)
library("sklearn", "scikit-learn", needed=False)
library("filelock", "filelock", needed=False)
library("soundfile", "soundfile", needed=False)


@step("extras", BUG, needed=False)
def look_at_extras() -> Iterator[Found]:
    """Optional libraries. None is loaded: that takes long."""
    for name, module, extra, use in OPTIONAL:
        version = installed(name).get(name)
        if version is None:
            advice = f"for {use}: pip install 'avsent[{extra}]'"
            yield Check(name, "absent", "not installed", advice)
        elif find_spec(module) is None:
            yield Check(name, "warning", f"{version}, but its files are gone", reinstall(name))
        else:
            yield Check(name, "ok", f"{version}, for {use}")
