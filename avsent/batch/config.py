"""What a result depends on besides the file: if any of it changes, the file is done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from avsent import __version__
from avsent.batch.engines.base import Work
from avsent.errors import CheckpointError, InputError
from avsent.files import file_sha256
from avsent.model.folders import CONFIG_FILE, checkpoint_folder
from avsent.result.utterance import ModelInfo


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """Everything a result depends on; where it is computed is left out, as are formats.

    ``checkpoint_sha256``: of the configuration, which names the weights' own.
    """

    avsent: str
    model: ModelInfo
    checkpoint_sha256: str
    face: str
    adapt: str
    analysis_rate_hz: float | None
    strict: bool
    landmarks_sha256: str | None
    check: bool = True
    proxy: bool | None = None

    def digest(self) -> str:
        """One number for all of it."""
        facts = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(facts.encode("ascii")).hexdigest()

    def shown(self) -> dict[str, Any]:
        """For people: options by their names, without hashes."""
        return {
            "avsent": self.avsent,
            "face": self.face,
            "adapt": self.adapt,
            "rate": self.analysis_rate_hz,
            "strict": self.strict,
            "check": self.check,
            "proxy": self.proxy,
        }


def config_of(work: Work, adapt: str) -> BatchConfig:
    """The configuration of a batch.

    Raises:
        CheckpointError: there is no such checkpoint. InputError: no such landmarks file.
    """
    path = checkpoint_folder(work.checkpoint) / CONFIG_FILE
    try:
        checkpoint_sha256 = file_sha256(path)
        model = _model_of(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); restore the checkpoint"
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged; restore the checkpoint") from error
    landmarks_sha256 = None
    if work.landmarks is not None:
        try:
            landmarks_sha256 = file_sha256(work.landmarks)
        except OSError as error:
            raise InputError(
                f"--landmarks: cannot read {work.landmarks}: {error.strerror}; check the name"
            ) from error
    return BatchConfig(
        avsent=__version__,
        model=model,
        checkpoint_sha256=checkpoint_sha256,
        face=work.face.value,
        adapt=adapt,
        analysis_rate_hz=work.analysis_rate_hz,
        strict=work.strict,
        landmarks_sha256=landmarks_sha256,
        check=work.check,
        proxy=work.proxy,
    )


def _model_of(config: Any) -> ModelInfo:
    """What results say of their model. The rest of a checkpoint is checked by those who load it,
    with torch; a batch in which nothing is left to do needs no more than this."""
    labels = tuple(map(str, config["model"]["labels"]))
    return ModelInfo(str(config["name"]), str(config["weights_sha256"]), labels)
