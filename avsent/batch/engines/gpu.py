"""The local engine of a machine with a GPU: worker processes extract features on the processor, and
one thread here encodes the utterances of all files together on the GPU."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from avsent.batch.engines.base import Done, Events, Job, Outcome, Work
from avsent.batch.engines.local import LocalEngine
from avsent.batch.engines.worker import Extracted, ExtractWorker, failure, file_result
from avsent.batch.events import Advanced
from avsent.errors import InputError
from avsent.extraction.extractor import UtteranceFeatures
from avsent.model.encoding import EncodedUtterance
from avsent.predictor import Predictor, assemble

T = TypeVar("T")
R = TypeVar("R")

MOST_UTTERANCES = 64  # utterances in the first batch
WAITING_LIMIT = 4 * MOST_UTTERANCES
"""While more utterances wait, no messages are read from the workers, which then wait, too."""
_STEP_S = 0.02


class BatchSize:
    """Items in a batch: halved where the device runs out of memory.

    Attributes:
        most: items of the next batch at most. It never grows again: what did not fit once would
            not fit twice, and each try costs a batch.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"a batch has at least one item, not {most}")
        self.most = most

    def halving(
        self,
        work: Callable[[Sequence[T]], Sequence[R]],
        items: Sequence[T],
        name: Callable[[T], str] = lambda item: "an utterance",
    ) -> list[R]:
        """The results of ``work`` for all ``items``, in their order, ``most`` at a time.

        ``name``: what to call an item in an error: its file, and where it is in there. Raises
        InputError if an item does not fit even by itself.
        """
        done: list[R] = []
        while len(done) < len(items):
            batch = items[len(done) : len(done) + self.most]
            made: Sequence[R] | None = None
            # The error holds the tensors that were in use: the cache is emptied after it is gone.
            with contextlib.suppress(torch.OutOfMemoryError):
                made = work(batch)
            if made is not None:
                if len(made) != len(batch):
                    raise ValueError(f"{len(batch)} items went in, {len(made)} came out")
                done += made
                continue
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(batch) == 1:
                raise InputError(
                    f"{name(batch[0])}: too long for the memory of the GPU, even by itself; stop "
                    "what else uses that GPU, cut it with --utterances, or use --device cpu"
                )
            self.most = (len(batch) + 1) // 2
        return done


@dataclass(slots=True, eq=False)
class _File:
    """One attempt at a job: its utterances in the order of extraction."""

    job: Job
    encoded: list[EncodedUtterance] = field(default_factory=list)
    error: InputError | None = None


_Utterance = tuple[_File, UtteranceFeatures]
_Waiting = tuple[_File, UtteranceFeatures | Extracted]
"""An utterance to be encoded, or the end of a file."""


class GpuEngine(LocalEngine):
    """``workers`` processes that extract, one GPU that encodes and decides.

    ``together``: see :meth:`avsent.model.encoding.Encoder.encode`.

    Raises:
        CheckpointError, UsageError: the model cannot be loaded, or there is no such device.
    """

    def __init__(self, work: Work, workers: int, *, together: bool | None = None) -> None:
        super().__init__(work, workers, ExtractWorker)
        self._predictor = Predictor.load(work.checkpoint, device=work.device)
        if work.represent:
            self._predictor.require_adaptable()
        self._together = together
        self._options = work.file_options
        self._batch = BatchSize(MOST_UTTERANCES)
        self._files: dict[Job, _File] = {}
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._decided: queue.Queue[Outcome | Exception] = queue.Queue()
        self._encoder = threading.Thread(target=self._encode_all, name="avsent-gpu", daemon=True)
        self._encoder.start()

    def free(self) -> int:
        return 0 if self._waiting.qsize() > WAITING_LIMIT else super().free()

    def start(self, job: Job) -> int:
        self._files[job] = _File(job)
        return super().start(job)

    def wait(self, timeout_s: float) -> Events:
        deadline = time.monotonic() + timeout_s
        while True:
            events: Events = []
            # In short steps: decisions come from a thread, not through a pipe.
            if self._waiting.qsize() <= WAITING_LIMIT:
                events += super().wait(_STEP_S)
            else:
                time.sleep(_STEP_S)
            while not self._decided.empty():
                outcome = self._decided.get()
                if isinstance(outcome, Exception):
                    raise outcome
                if outcome.job in self._files:
                    events.append(outcome)
            for event in events:
                if not isinstance(event, Advanced):
                    self._files.pop(event.job, None)
            if events or time.monotonic() >= deadline:
                return events

    def abandon(self, job: Job) -> None:
        self._files.pop(job, None)
        super().abandon(job)

    def close(self) -> None:
        self._files.clear()
        self._waiting.put(None)
        super().close()
        self._encoder.join()

    def _take(self, worker: Any, message: object, events: Events) -> None:
        match message:
            case (Job() as job, UtteranceFeatures() as features):
                if (file := self._files.get(job)) is not None:
                    self._waiting.put((file, features))
            case Extracted(job):
                worker.job = None
                if (file := self._files.get(job)) is not None:
                    self._waiting.put((file, message))
            case _:
                super()._take(worker, message, events)

    # --- the thread of the GPU ---------------------------------------------------------------

    def _encode_all(self) -> None:
        try:
            while (first := self._waiting.get()) is not None:
                items, ends = [first], False
                while len(items) < self._batch.most and not ends and not self._waiting.empty():
                    item = self._waiting.get()
                    ends = item is None
                    items += [item] if item is not None else []
                self._encode(
                    [(file, it) for file, it in items if isinstance(it, UtteranceFeatures)]
                )
                for file, end in items:
                    if isinstance(end, Extracted) and self._is_live(file):
                        self._decide(file, end)
                if ends:
                    return
        except Exception as error:
            self._decided.put(error)

    def _is_live(self, file: _File) -> bool:
        """Whether the attempt was not abandoned."""
        return self._files.get(file.job) is file

    def _encode(self, items: Sequence[_Utterance]) -> None:
        live = [item for item in items if self._is_live(item[0])]
        try:
            made = self._batch.halving(self._encoded, live, _place)
        except InputError:
            # One does not fit even alone: the others must not fail with it.
            for item in live:
                try:
                    item[0].encoded += self._batch.halving(self._encoded, [item], _place)
                except InputError as error:
                    item[0].error = error
            return
        for (file, _), encoded in zip(live, made, strict=True):
            file.encoded.append(encoded)

    def _encoded(self, items: Sequence[_Utterance]) -> list[EncodedUtterance]:
        features = [features for _, features in items]
        return self._predictor.decider.encode(features, together=self._together)

    def _decide(self, file: _File, extracted: Extracted) -> None:
        event: Outcome
        try:
            if file.error is not None:
                raise file.error
            analysis = assemble(
                self._predictor.decider, file.encoded, extracted.facts, self._options
            )
            result = file_result(
                file.job, extracted.content_sha256, self._predictor, analysis, self._work
            )
            event = Done(file.job, result, extracted.seconds)
        except Exception as error:
            event = failure(error, file.job, self._work, extracted.seconds)
        self._decided.put(event)


def _place(item: _Utterance) -> str:
    """Where an utterance is, for an error."""
    file, features = item
    return f"{file.job.name}: the utterance at {features.segment.start_s:.2f} s"
