"""What ``avsent doctor`` checks, and how: step by step, in a second process.

Each step imports what it checks itself, because that may be missing or broken. It yields checks,
and raises where the thing does not work.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Literal, TextIO

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

import avsent
from avsent import errors, machine
from avsent.extraction.features.numba_cache import VARIABLE, ensure_numba_cache
from avsent.result.writers.data import is_utf8

TIME_LIMIT_S = 600.0  # for all steps: loading torch from a slow disk takes half a minute
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
SPARE_DISK_BYTES = 1_000_000_000
CODECS = ["h264", "hevc", "vp8", "vp9", "libdav1d|libaom-av1", "mpeg4", "mpeg2video"]
CODECS += ["aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le", "libx264"]
"""Those of common files, and libx264, which ``--annotate`` writes with."""
MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-learn": "sklearn"}
MODULES["dlib-bin"] = "dlib"
TWINS = {"dlib-bin": ["dlib"], "opencv-python-headless": ["opencv-python"]}
TWINS["opencv-python-headless"] += ["opencv-contrib-python", "opencv-contrib-python-headless"]
"""Other distributions of the same module."""
NOT_FOR_PREDICT = {"filelock", "matplotlib", "pillow", "scikit-learn", "silero-vad", "soundfile"}
EXTRAS = {
    "parquet": "tables of a batch as Parquet",
    "ray": "batches on a cluster",
    "pandas": "Result.to_dataframe()",
    "text": "text encoders for training",
}
REINSTALL = "pip install --force-reinstall"
BUG = "reinstall the library it names, or run again with --debug and report the traceback"

CheckState = Literal["ok", "warning", "failed", "absent", "skipped"]
"""``failed``: predict cannot work; ``absent``: optional; ``skipped``: needs what failed before."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, and what to do about it (``advice``, empty where nothing is wrong)."""

    name: str
    state: CheckState
    found: str
    advice: str = ""


def verdict(name: str, found: str, good: object, advice: str, bad: CheckState = "warning") -> Check:
    return Check(name, "ok", found) if good else Check(name, bad, found, advice)


@dataclass(frozen=True, slots=True)
class Step:
    """A look at one thing, which gives one check or more.

    ``look`` takes the device of predictions. ``advice``: where it raises. ``needs``: names of
    earlier steps. ``needed``: by every prediction; otherwise an error is a warning.
    """

    name: str
    look: Callable[[str], Iterator[Check]]
    advice: str
    needs: tuple[str, ...] = ()
    needed: bool = True

    def take(
        self, device: str, broken: Collection[str] = (), *, debug: bool = False
    ) -> list[Check]:
        """The checks; an error becomes the last of them. ``broken``: steps that blocked others."""
        if missing := " and ".join(name for name in self.needs if name in broken):
            return [Check(self.name, "skipped", f"needs {missing}, see above")]
        checks: list[Check] = []
        try:
            checks.extend(self.look(device))  # those before an error stay
        except Exception as error:
            if debug:
                traceback.print_exception(error)
            found = str(error)
            if not found or not isinstance(error, errors.AvsentError | ImportError):
                *_, (frame, _) = traceback.walk_tb(error.__traceback__)
                module = frame.f_globals.get("__name__")
                found = f"{type(error).__name__} in {module}: {found}"
            checks.append(self.failure(found))
        return checks

    def failure(self, found: str) -> Check:
        """The check where the look itself failed."""
        found = " ".join(found.split())[:300]
        return Check(self.name, "failed" if self.needed else "warning", found, self.advice)


def look_at_machine(device: str) -> Iterator[Check]:
    """avsent, Python, cores and memory as far as a container may use them, free disk, caches."""
    yield Check("avsent", "ok", f"{avsent.__version__} in {Path(avsent.__file__).resolve().parent}")
    version = sys.version_info[:2]
    system = f"{platform.python_implementation()}, {platform.system()} {platform.machine()}"
    found = f"{platform.python_version()} ({system})"
    good, bad = OLDEST_PYTHON <= version <= NEWEST_PYTHON, version < OLDEST_PYTHON
    advice = "install avsent with Python {}.{} to {}.{}".format(*OLDEST_PYTHON, *NEWEST_PYTHON)
    yield verdict("Python", found, good, advice, "failed" if bad else "warning")
    memory = machine.usable_bytes()
    free = "memory unknown" if memory is None else f"{memory / 1e9:.1f} GB free"
    advice = f"a video takes about {machine.WORKER_BYTES / 1e9:.1f} GB; close other programs"
    good = memory is None or memory >= machine.WORKER_BYTES
    yield verdict("cores, memory", f"{machine.usable_cores()} cores, {free}", good, advice)
    for kind, remedy in (("current", "give -o elsewhere"), ("temporary", "set TMPDIR")):
        folder = os.getcwd() if kind == "current" else tempfile.gettempdir()
        disk = shutil.disk_usage(folder).free
        found, advice = f"{disk / 1e9:.1f} GB free in {folder}", f"free some disk, or {remedy}"
        yield verdict(f"{kind} folder", found, disk >= SPARE_DISK_BYTES, advice)
    own = os.environ.get(VARIABLE)
    ensure_numba_cache()
    found = os.environ.get(VARIABLE, "beside librosa, or in your home folder")
    advice = f"each start compiles anew; set {VARIABLE} to a folder that can be written"
    yield verdict("numba cache", found, own or VARIABLE not in os.environ, advice)


def requirements() -> Iterator[tuple[Requirement, str]]:
    """What avsent requires, each with the extra that it is for ("" for none)."""
    try:
        lines = metadata.requires("avsent") or []
    except metadata.PackageNotFoundError:  # a checkout run by ``cli.py``
        text = (Path(avsent.__file__).parents[1] / "pyproject.toml").read_text("utf-8")
        lines = tomllib.loads(text)["project"]["dependencies"]
    for wanted in map(Requirement, [*lines, "soundfile"]):  # librosa requires soundfile
        for extra in EXTRAS if wanted.marker else ("",):
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                yield wanted, extra


def installed(*names: str) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    return {name: found.version for name in names for found in metadata.distributions(name=name)}


def fits(version: str, wanted: Requirement) -> bool:
    """Whether a release, or a build or pre-release of it, is in the range."""
    with suppress(InvalidVersion):
        return wanted.specifier.contains(Version(version).base_version)
    return True


def library(wanted: Requirement, extra: str = "") -> Step:
    """The step of a library. It imports the library, but not one of an extra: that takes long."""
    name = wanted.name
    module = MODULES.get(name, name.replace("-", "_"))

    def look(device: str) -> Iterator[Check]:
        versions = installed(name, *TWINS.get(name, ()))
        if extra and not versions:
            advice = f"for {EXTRAS[extra]}: pip install 'avsent[{extra}]'"
            yield Check(name, "absent", "not installed", advice)
            return
        # face_recognition_models cannot be imported: newer setuptools lack its pkg_resources.
        if extra or name == "face-recognition-models":
            if util.find_spec(module) is None:
                raise ModuleNotFoundError(f"No module named {module!r}")
            version = versions[name]
        else:
            ensure_numba_cache()
            version = getattr(import_module(module), "__version__", None) or versions[name]
            if name == "silero-vad":
                import_module("avsent.extraction.utterances.segmentation").SileroSpeechDetector()
        limits = ",".join(sorted(map(str, wanted.specifier), reverse=True))
        advice = f"avsent is made for {limits}: pip install '{name}{limits}'"
        good = fits(version, wanted)
        if len(versions) > 1:
            version += f"; {' and '.join(versions)} are both installed, in the same place"
            advice, good = f"pip uninstall {' '.join(versions)}, then pip install {name}", False
        yield verdict(name, version, good, advice)

    needed = not extra and name not in NOT_FOR_PREDICT
    advice = f"{'' if needed else 'predict works without it: '}{REINSTALL} {name}"
    return Step(name, look, advice, needed=needed)


def look_at_device(device: str) -> Iterator[Check]:
    import torch

    auto = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.device(auto if device == "auto" else device)
    torch.ones(1, device=where).sum().item()
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    found = f"{where}, torch is built for {build}"
    if where.type == "cuda":
        free, total = (f"{count / 1e9:.1f} GB" for count in torch.cuda.mem_get_info(where))
        found += f", {torch.cuda.get_device_name(where)}, {free} of {total} free"
    gpu = shutil.which("nvidia-smi") or any(Path("/dev").glob("nvidia[0-9]*"))
    unused = gpu and device == "auto" and where.type == "cpu"
    driver = "update the NVIDIA driver, or let the container see the GPU (--gpus all)"
    advice = driver if torch.version.cuda else "install torch with CUDA (pytorch.org)"
    yield verdict("device", found + ", though there is a GPU" * bool(unused), not unused, advice)


def look_at_codecs(device: str) -> Iterator[Check]:
    """The usual codecs of videos and sound files, and those that ``--annotate`` writes."""
    import av

    missing = [name for name in CODECS if av.codecs_available.isdisjoint(name.split("|"))]
    found = f"FFmpeg {av.ffmpeg_version_info}{', without ' if missing else ''}{', '.join(missing)}"
    advice = f"convert such files (libx264: --annotate fails), or {REINSTALL} av"
    yield verdict("codecs", found, not missing, advice)


def look_at_faces(device: str) -> Iterator[Check]:
    """dlib's landmarks and both detectors, on a picture without a face."""
    import dlib
    import numpy as np

    from avsent.extraction.faces import detection, landmarks

    picture = np.full((240, 320), 128, dtype=np.uint8)
    landmarks.LandmarkPredictor()(picture, (100.0, 60.0, 200.0, 160.0))
    detector = detection.FaceDetector()
    faces = [*detector.whole(picture, 320), *detector.network_whole(picture)]
    there = landmarks.model_file(detection.NETWORK_FILE)
    found = f"dlib {'with' if dlib.DLIB_USE_CUDA else 'without'} CUDA, {len(faces)} faces in grey"
    if not there:
        found = f"{detection.NETWORK_FILE} is not there: turned faces are missed"
    yield verdict("face models", found, there, f"{REINSTALL} face_recognition_models")


def look_at_models(device: str) -> Iterator[Check]:
    """Each included model: its SHA-256, and whether it can be loaded."""
    from avsent.model.index import DEFAULT, verify_folder

    models = verify_folder()
    for model in models:
        reason, _, advice = model.detail.rpartition("; ")
        fine = model.state == "fine"
        found = model.detail if fine else f"{model.state}: {reason or model.detail}"
        # A prediction that names no model needs only the default.
        bad: CheckState = "failed" if model.name == DEFAULT else "warning"
        yield verdict(f"model {model.name}", found, fine, advice, bad)
    if DEFAULT not in [model.name for model in models]:
        yield Check(f"model {DEFAULT}", "failed", "not there", "install avsent again")


def look_at_prediction(device: str) -> Iterator[Check]:
    """The whole way, for an utterance in a synthetic clip with a grey picture and a buzz."""
    import av
    import numpy as np

    picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 128, dtype=np.uint8))
    buzz = np.arange(32_000, dtype=np.float32)[None] % 100 / 200
    sound = av.AudioFrame.from_ndarray(buzz, "fltp", "mono")
    sound.sample_rate = 16_000
    with tempfile.TemporaryDirectory(prefix="avsent-doctor-") as folder:
        clip, utterances = Path(folder, "clip.mp4"), Path(folder, "utterances.csv")
        with av.open(str(clip), "w") as container:
            # Encoders that every FFmpeg has.
            video = container.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
            audio = container.add_stream("aac", rate=16_000, layout="mono")
            for picture.pts in range(50):
                container.mux(video.encode(picture))
            container.mux([*video.encode(None), *audio.encode(sound), *audio.encode(None)])
        utterances.write_text("start_s,end_s\n0.2,1.8\n", encoding="utf-8")
        options = avsent.PredictOptions(utterances=utterances, strict=True, check=False)
        (utterance,) = avsent.predict(clip, device=device, options=options).utterances
    total = sum(utterance.probabilities.values())
    if not utterance.modalities["audio"].effective or not 0.999 < total < 1.001:
        raise RuntimeError(f"the sound was not used, or probabilities sum to {total}")
    yield Check("prediction", "ok", "a synthetic clip was predicted from its sound")


FACES = ("numpy", "opencv-python-headless", "dlib-bin")
STEPS = [
    Step("machine", look_at_machine, "set TMPDIR to a folder that can be written", needed=False),
    *(library(wanted, extra) for wanted, extra in requirements()),
    Step("device", look_at_device, "give --device cpu, or repair the driver or torch", ("torch",)),
    Step("codecs", look_at_codecs, f"{REINSTALL} av", ("av",)),
    Step("face models", look_at_faces, f"{REINSTALL} dlib-bin face_recognition_models", FACES),
    Step("models", look_at_models, "install avsent again", ("numpy", "torch", "safetensors")),
]
NEEDED = tuple(step.name for step in STEPS if step.needed)
STEPS.append(Step("prediction", look_at_prediction, BUG, NEEDED))


def look_at_output(stream: TextIO) -> Check:
    """Whether the stream takes any script. No step, as those run in another process."""
    found = f"{'terminal' if stream.isatty() else 'file or pipe'}, {stream.encoding}"
    advice = "names in other scripts are shown as escapes; set PYTHONUTF8=1"
    return verdict("output", found, is_utf8(stream), advice)


def run_checks(device: str, *, debug: bool) -> list[Check]:
    """Take all steps. ``debug``: what libraries print, and tracebacks, go to standard error.

    They run in another process, because a broken native library may end the process that loads it:
    then a new process goes on with the next step. Raises InputError if the current folder is gone,
    where no process can start.
    """
    try:
        Path.cwd()
    except OSError as error:
        reason = "the current folder is gone; change to another one and try again"
        raise errors.InputError(reason) from error
    # -P and the path: what lies in the current folder is not imported.
    command = [sys.executable, "-P", "-W", "ignore", "-m", "avsent.cli.checkup", device]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    taken: list[list[Check]] = []
    while len(taken) < len(STEPS):
        broken = [STEPS[at].name for at, checks in enumerate(taken) if blocks(checks)]
        try:
            done = subprocess.run(
                [*command, "debug" if debug else "", str(len(taken)), *broken],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if debug else subprocess.DEVNULL,
                timeout=TIME_LIMIT_S,
            )
            output, end = done.stdout, ending(done.returncode)
        except subprocess.TimeoutExpired as error:
            output, end = error.stdout or b"", f"gave no answer within {TIME_LIMIT_S:.0f} s"
        taken += [[Check(*check) for check in json.loads(line)] for line in output.splitlines()]
        if len(taken) < len(STEPS):
            taken.append([STEPS[len(taken)].failure(f"the process {end}")])
    return [check for checks in taken for check in checks]


def blocks(checks: list[Check]) -> bool:
    """Whether the steps that need the one with these checks are skipped."""
    return any(check.state in ("failed", "skipped") for check in checks)


def ending(code: int) -> str:
    """How a process with this return code ended."""
    if code >= 0:
        return f"ended with code {code}"
    causes = {"SIGILL": ": made for another processor", "SIGKILL": ": out of memory?"}
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}{causes.get(name, '')}"


def main() -> None:
    """Take the steps from a number on, and print the checks of each as a line of JSON."""
    device, debug, first, *broken = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print, also from C
        for step in STEPS[int(first) :]:
            checks = step.take(device, broken, debug=bool(debug))
            if blocks(checks):
                broken.append(step.name)
            print(json.dumps([astuple(check) for check in checks]), file=answers, flush=True)


if __name__ == "__main__":
    main()
