"""What a worker does with one file, and the loop of a worker process.

Nothing heavy is imported here before a worker is made: engines import this module, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from avsent.batch.engines import base
from avsent.batch.journal import packed, packed_representations
from avsent.errors import AvsentError, InputError, MediaError
from avsent.files import file_sha256
from avsent.progress import Progress, ProgressHook

if TYPE_CHECKING:
    from avsent.extraction.extractor import FileFacts
    from avsent.extraction.utterances.segmentation import SpeechDetector
    from avsent.predictor import Analysis, Predictor

Send: TypeAlias = Callable[[object], None]
"""Sends a message to the engine; a number is the progress of the job, in seconds of media."""

PROGRESS_INTERVAL_S = 0.25


class FileWorker(ABC):
    """Loads what it needs once, then processes any number of files."""

    def __init__(self, work: base.Work) -> None:
        use_threads(work.threads)
        self._work = work
        self._options = work.file_options

    def outcome(self, job: base.Job, send: Send) -> base.Done | base.Failed | Extracted:
        """Process one file. Its own errors return as :class:`Failed`; errors that would hit every
        file are raised."""
        began_s = time.monotonic()
        try:
            with checked_content(job) as content_sha256:
                if content_sha256 == job.known_sha256:
                    return base.Done(job, None, time.monotonic() - began_s)
                return self._process(job, content_sha256, began_s, send)
        except Exception as error:
            return failure(error, job, self._work, time.monotonic() - began_s)

    @abstractmethod
    def _process(
        self, job: base.Job, content_sha256: str, began_s: float, send: Send
    ) -> base.Done | Extracted: ...


class PredictWorker(FileWorker):
    """Predicts files from beginning to end."""

    def __init__(self, work: base.Work) -> None:
        super().__init__(work)
        from avsent.predictor import Predictor

        self._predictor = Predictor.load(work.checkpoint, device=work.device)
        if work.represent:
            self._predictor.require_adaptable()

    def _process(self, job: base.Job, content_sha256: str, began_s: float, send: Send) -> base.Done:
        analysis = self._predictor.analyse(
            job.path, options=self._options, on_progress=progress_hook(send)
        )
        result = file_result(job, content_sha256, self._predictor, analysis, self._work)
        return base.Done(job, result, time.monotonic() - began_s)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """Message: all utterances of a job have been sent, after ``seconds``."""

    job: base.Job
    content_sha256: str
    facts: FileFacts
    seconds: float


class ExtractWorker(FileWorker):
    """Extracts the features of files; sends (job, :class:`UtteranceFeatures`) for each utterance,
    in the order of extraction. It loads none of the model's networks."""

    def __init__(self, work: base.Work) -> None:
        super().__init__(work)
        from avsent.model.checkpoint import load_config

        self._features = load_config(work.checkpoint).features
        self._detector: SpeechDetector | None = None

    def _process(self, job: base.Job, content_sha256: str, began_s: float, send: Send) -> Extracted:
        from avsent.extraction.extractor import extract_file
        from avsent.extraction.utterances.segmentation import default_detector

        if self._detector is None:  # not at the start: lack of memory must cost one file only
            self._detector = default_detector()
        facts = extract_file(
            job.path,
            self._features,
            lambda utterance: send((job, utterance)),
            self._options,
            progress_hook(send),
            self._detector,
        )
        return Extracted(job, content_sha256, facts, time.monotonic() - began_s)


def use_threads(threads: int) -> None:
    """Limit the libraries of this process to so many threads each."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


@contextlib.contextmanager
def checked_content(job: base.Job) -> Iterator[str]:
    """Yield the SHA-256 of the content; after the block the file must look as it did before. Raises
    MediaError if the file is empty, cannot be read, or is being written."""
    before = _size_and_time(job.path)
    if before and before[0] == 0:
        raise MediaError(f"{job.path} is empty; copy it again from its source")
    try:
        content_sha256 = file_sha256(job.path)
    except OSError as error:
        raise MediaError(
            f"cannot read {job.path}: {error.strerror}; ask its owner for it"
        ) from error
    yield content_sha256
    if _size_and_time(job.path) != before:
        raise MediaError(f"{job.name}: changed while it was read; run the same command again")


def _size_and_time(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return None


def progress_hook(send: Send) -> ProgressHook:
    """A hook that sends the seconds of media done, a few times a second."""
    last_s = time.monotonic()

    def hook(progress: Progress) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= PROGRESS_INTERVAL_S:
            last_s = now_s
            send(progress.completed)

    return hook


def file_result(
    job: base.Job, content_sha256: str, predictor: Predictor, analysis: Analysis, work: base.Work
) -> base.FileResult:
    """The decisions on an analysed file, as they go into the journal."""
    result = dataclasses.replace(predictor.conclude(analysis), source=job.name)
    stored, rows = packed(result)
    return base.FileResult(
        content_sha256=content_sha256,
        duration_s=result.duration_s,
        utterances=len(result.utterances),
        result=stored,
        rows=rows,
        representations=packed_representations(analysis.utterances) if work.represent else None,
    )


def failure(error: Exception, job: base.Job, work: base.Work, seconds: float) -> base.Failed:
    """The failure of one file, named as in the folder; raises ``error`` where every other file
    would fail, too: a wrong option, say, or a damaged checkpoint."""
    if isinstance(error, AvsentError) and not isinstance(error, InputError):
        raise error
    if work.debug:
        traceback.print_exception(error)
    code = base.EXIT_INTERNAL
    if isinstance(error, InputError):
        text, code = str(error), error.exit_code
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        text = "not enough memory; try fewer --workers"
    else:
        text = f"internal error: {type(error).__name__}: {error}; --debug shows the traceback"
    return base.Failed(job, text.replace(str(job.path), job.name), code, seconds)


def serve(connection: Connection, load: Callable[[base.Work], FileWorker], work: base.Work) -> None:
    """The main function of a worker process: ``load`` once, then process the jobs that come
    through the pipe, until the other end closes."""
    # Ctrl-C reaches every process of a terminal; the parent decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
        try:
            try:
                worker = load(work)
            except AvsentError:
                raise
            except Exception as error:
                text = f"a worker cannot start: {type(error).__name__}: {error}"
                raise base.WorkersError(text) from error
            connection.send(base.Ready())
            while True:
                connection.send(worker.outcome(connection.recv(), connection.send))
        except AvsentError as error:
            connection.send(error)


def _die_with_parent() -> None:
    """A killed batch must not leave workers behind that go on for hours."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
