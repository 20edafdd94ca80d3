"""The configuration that results depend on: if any of it changes, every file is done again."""

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
from avsent.result.record import ModelInfo


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What a result depends on besides its file; not the device, the engine or the formats.

    ``checkpoint_sha256``: of the checkpoint's configuration, which holds the hash of the weights.
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
        """The SHA-256 of the configuration, as hex."""
        return json_sha256(dataclasses.asdict(self))

    def options(self) -> dict[str, Any]:
        """The options by their names, for people."""
        return {
            "avsent": self.avsent,
            "face": self.face,
            "adapt": self.adapt,
            "rate": self.analysis_rate_hz,
            "strict": self.strict,
            "check": self.check,
            "proxy": self.proxy,
        }


def config_of(work: Work) -> BatchConfig:
    """The configuration of a batch.

    Raises:
        CheckpointError: there is no such checkpoint. InputError: no such landmarks file.
    """
    path, options = checkpoint_folder(work.checkpoint) / CONFIG_FILE, work.options
    try:
        checkpoint_sha256 = file_sha256(path)
        # The rest is checked with torch by those who load it; a batch in which everything is done
        # must not wait for that.
        config = json.loads(path.read_text(encoding="utf-8"))
        labels = tuple(map(str, config["model"]["labels"]))
        model = ModelInfo(str(config["name"]), str(config["weights_sha256"]), labels)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); restore the checkpoint"
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged; restore the checkpoint") from error
    landmarks = options.landmarks
    try:
        landmarks_sha256 = None if landmarks is None else file_sha256(landmarks)
    except OSError as error:
        raise InputError(
            f"--landmarks: cannot read {landmarks}: {error.strerror}; check the name"
        ) from error
    return BatchConfig(
        avsent=__version__,
        model=model,
        checkpoint_sha256=checkpoint_sha256,
        face=options.face.value,
        adapt=options.adapt.value,
        analysis_rate_hz=options.analysis_rate_hz,
        strict=options.strict,
        landmarks_sha256=landmarks_sha256,
        check=options.check,
        proxy=options.proxy,
    )


def json_sha256(value: Any) -> str:
    """SHA-256 of a JSON-ready value, as hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()
