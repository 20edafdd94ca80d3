"""One job done: what a worker does, whatever engine it belongs to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from avsent.batch.config import file_sha256
from avsent.batch.jobs import Answer, Done, Failed, Job, Moved, Work
from avsent.batch.packing import packed, packed_representations
from avsent.errors import AvsentError, InputError, MediaError
from avsent.progress import Progress

if TYPE_CHECKING:
    from avsent.analysis import Analysis, PredictOptions
    from avsent.pipeline import Predictor

Send: TypeAlias = Callable[[Moved], None]

TELL_EVERY_S = 0.25
"""How often a worker says how far it has come."""
EXIT_INTERNAL = 1


class Doer:
    """A model that is loaded once, and does any number of jobs. Raises what loading raises."""

    def __init__(self, work: Work) -> None:
        use_threads(work.threads)
        from avsent.pipeline import Predictor

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
    from avsent.adapt import Adapt
    from avsent.analysis import PredictOptions

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
        representations = packed_representations(analysis.represented)
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
