"""A worker of a machine with a GPU: decodes and looks for faces, and sends what it finds on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from avsent.analysis import FileFacts, PredictOptions, each_of_file, extract_file
from avsent.batch.doing import checked_content, failure, options_of, throttled, use_threads
from avsent.batch.jobs import Answer, Done, Failed, Job, Moved, Work
from avsent.batch.worker import serve_with
from avsent.checkpoints import load_config
from avsent.lean import LeanFeatures, lean
from avsent.speech import default_detector


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One utterance of a job, in the order of extraction."""

    job: Job
    features: LeanFeatures


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

                facts = each_of_file(
                    extract_file(
                        job.path,
                        self._features,
                        self._options,
                        throttled(job, moved),
                        self._detector,
                    ),
                    lambda utterance: send(Piece(job, lean(utterance))),
                )
        except Exception as error:
            return failure(error, job, self._work, time.monotonic() - began)
        return Seen(job, content_sha256, facts, time.monotonic() - began)


def serve_features(connection: Connection, work: Work) -> None:
    """The life of such a worker at its end of a pipe, which brings jobs."""
    serve_with(connection, lambda: Extractor(work))
