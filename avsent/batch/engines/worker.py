"""One job done: what a worker does, whatever engine it belongs to."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from avsent.batch.engines.base import Answer, Done, Failed, Job, Moved, Work, WorkersError
from avsent.batch.journal import packed, packed_representations
from avsent.errors import AvsentError, InputError, MediaError
from avsent.extraction.extractor import FileFacts, UtteranceFeatures, extract_file
from avsent.extraction.utterances.voice_activity import default_detector
from avsent.files import file_sha256
from avsent.model.checkpoint import load_config
from avsent.options import PredictOptions
from avsent.progress import Progress

if TYPE_CHECKING:
    from avsent.predictor import Analysis, Predictor

Send: TypeAlias = Callable[[Moved], None]

TELL_EVERY_S = 0.25
"""How often a worker says how far it has come."""
EXIT_INTERNAL = 1


class Doer:
    """A model that is loaded once, and does any number of jobs. Raises what loading raises."""

    def __init__(self, work: Work) -> None:
        use_threads(work.threads)
        from avsent.predictor import Predictor

        self._work = work
        self._options = options_of(work)
        self._predictor = Predictor.load(work.checkpoint, device=work.device)
        if work.represent:
            self._predictor.require_adaptable()

    def outcome(self, job: Job, send: Send) -> Done | Failed:
        """What became of ``job``; raises what would become of every job."""
        began = time.monotonic()
        try:
            answer = self._do(job, send)
        except Exception as error:
            return failure(error, job, self._work, time.monotonic() - began)
        return Done(job, answer, time.monotonic() - began)

    def _do(self, job: Job, send: Send) -> Answer:
        with checked_content(job) as content_sha256:
            if content_sha256 == job.known_sha256:
                return Answer(content_sha256)
            analysis = self._predictor.analyse(
                job.path, options=self._options, on_progress=throttled(job, send)
            )
        return answer_of(job, content_sha256, self._predictor, analysis, self._work)


def options_of(work: Work) -> PredictOptions:
    """The options of ``work`` as the pipeline takes them."""
    from avsent.options import Adapt, PredictOptions

    return PredictOptions(
        face=work.face,
        analysis_rate_hz=work.analysis_rate_hz,
        strict=work.strict,
        landmarks=work.landmarks,
        adapt=Adapt.speaker if work.adapt_speaker else Adapt.none,
        threads=work.threads,
        check=work.check,
        proxy=work.proxy,
    )


@contextlib.contextmanager
def checked_content(job: Job) -> Iterator[str]:
    """The content's SHA-256; when the block is left the file must look as it did before.

    Raises:
        MediaError: the file cannot be read, or is being written.
    """
    before = _look(job.path)
    yield content_of(job.path)
    if _look(job.path) != before:
        raise MediaError(f"{job.name}: changed while it was read; run the same command again")


def failure(error: Exception, job: Job, work: Work, seconds: float) -> Failed:
    """What a job failed with; raises ``error`` where every other job would fail, too."""
    # A wrong option or a damaged checkpoint is the same for all files.
    if isinstance(error, AvsentError) and not isinstance(error, InputError):
        raise error
    if work.debug:
        traceback.print_exception(error)
    message, code = told(error, job)
    return Failed(job, message, code, seconds)


def answer_of(
    job: Job, content_sha256: str, predictor: Predictor, analysis: Analysis, work: Work
) -> Answer:
    """The decisions on an analysed file, as they go into the journal."""
    result = dataclasses.replace(predictor.conclude(analysis), source=job.name)
    stored, rows = packed(result)
    representations = None
    if work.represent:
        representations = packed_representations(analysis.utterances)
    return Answer(
        content_sha256=content_sha256,
        duration_s=result.duration_s,
        utterances=len(result.utterances),
        result=stored,
        rows=rows,
        representations=representations,
    )


def throttled(job: Job, send: Send) -> Callable[[Progress], None]:
    """A progress hook that sends on a few reports a second."""
    last_s = time.monotonic()

    def hook(progress: Progress) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= TELL_EVERY_S:
            last_s = now_s
            send(Moved(job, progress.completed))

    return hook


def content_of(path: Path) -> str:
    """SHA-256 of the content. Raises MediaError where the file cannot be read, or is empty."""
    try:
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty; copy it again from its source")
        return file_sha256(path)
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}; ask its owner for it") from error


def told(error: BaseException, job: Job) -> tuple[str, int]:
    """One line on a file, under its name in the folder, and the exit code it stands for."""
    if isinstance(error, AvsentError):
        text, code = str(error), error.exit_code
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        text, code = "not enough memory; try fewer --workers", EXIT_INTERNAL
    else:
        text = f"internal error: {type(error).__name__}: {error}; --debug shows the traceback"
        code = EXIT_INTERNAL
    return text.replace(str(job.path), job.name), code


def use_threads(threads: int) -> None:
    """Keep the libraries of this process to so many threads each."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _look(path: Path) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """No job can be done, and no other worker could do better."""

    error: AvsentError


class DoesJobs(Protocol):
    """What :class:`avsent.batch.engines.worker.Doer` is."""

    def outcome(self, job: Job, send: Callable[[object], None]) -> object: ...


def serve(connection: Connection, work: Work) -> None:
    """The life of a worker process at its end of a pipe, which brings jobs."""

    def load() -> DoesJobs:
        return Doer(work)

    serve_with(connection, load)


def serve_with(connection: Connection, load: Callable[[], DoesJobs]) -> None:
    """The same with what ``load`` loads."""
    # Ctrl-C reaches every process of a terminal; what to do about it the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        try:
            doer = load()
        except AvsentError as error:
            connection.send(Unfit(error))
            return
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            connection.send(Unfit(WorkersError(f"a worker cannot start: {text}")))
            return
        try:
            _serve(connection, doer)
        except AvsentError as error:
            connection.send(Unfit(error))


def _serve(connection: Connection, doer: DoesJobs) -> None:
    connection.send(Ready())
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(doer.outcome(job, connection.send))


def _die_with_parent() -> None:
    """A killed batch must not leave workers behind that go on for hours."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One utterance of a job, in the order of extraction."""

    job: Job
    features: UtteranceFeatures


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A job's file was heard and seen to its end, after ``seconds``; all its pieces were sent."""

    job: Job
    content_sha256: str
    facts: FileFacts
    seconds: float


class Extractor:
    """Does the first half of any number of jobs, without the networks."""

    def __init__(self, work: Work) -> None:
        use_threads(work.threads)
        self._work = work
        self._options: PredictOptions = options_of(work)
        self._features = load_config(work.checkpoint).features
        self._detector = default_detector()

    def outcome(self, job: Job, send: Callable[[object], None]) -> Seen | Done | Failed:
        """What was found in the file of ``job``; raises what would be the same for every job."""
        began = time.monotonic()
        try:
            with checked_content(job) as content_sha256:
                if content_sha256 == job.known_sha256:
                    return Done(job, Answer(content_sha256), time.monotonic() - began)

                def moved(news: Moved) -> None:
                    send(news)

                facts = extract_file(
                    job.path,
                    self._features,
                    lambda utterance: send(Piece(job, utterance)),
                    self._options,
                    throttled(job, moved),
                    self._detector,
                )
        except Exception as error:
            return failure(error, job, self._work, time.monotonic() - began)
        return Seen(job, content_sha256, facts, time.monotonic() - began)


def serve_features(connection: Connection, work: Work) -> None:
    """The life of such a worker at its end of a pipe, which brings jobs."""
    serve_with(connection, lambda: Extractor(work))
