"""Where checkpoints are: the shipped ones by name, any other by path. Without torch, so that
commands which only need the place of one start at once."""

from pathlib import Path

from avsent.errors import CheckpointError
from avsent.schema import MAX_CONFIG_BYTES, read_object

CONFIG_FILE = "config.json"
RUN_FORMAT = "avsent-run/1"
"""Of the configuration of a training run, whose best checkpoint is in ``checkpoint/``."""


def shipped_folder() -> Path:
    """The folder of the checkpoints that come with avsent: in the wheel, or in the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def shipped_names() -> list[str]:
    """Names that ``load_checkpoint`` takes without a path."""
    return names_in(shipped_folder())


def names_in(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder of models."""
    return sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint, by shipped name, by path, or in the folder of a training run.
    Raises CheckpointError if there is none, or the run has not finished."""
    text = str(checkpoint)
    if text in shipped_names():
        return shipped_folder() / text
    path = Path(text)
    try:
        there = path.exists()
        if (path / "checkpoint" / CONFIG_FILE).is_file():
            return path / "checkpoint"
        folder = path if path.is_dir() else path.parent
        holds_config = there and (folder / CONFIG_FILE).is_file()
    except (OSError, ValueError):  # a name no file can have
        there = holds_config = False
    if holds_config:
        if _is_unfinished_run(folder):
            raise CheckpointError(
                f"{folder}: this training run has not finished; resume it with the 'avsent train' "
                f"command that began it (-o {folder})"
            )
        return folder
    if there:
        raise CheckpointError(
            f"{path}: not a checkpoint, it holds no {CONFIG_FILE}; give a folder that 'avsent "
            "train' wrote"
        )
    raise CheckpointError(
        f"unknown checkpoint {text[:200]!r}; shipped: {', '.join(shipped_names()) or 'none'}; "
        "or give the path of a checkpoint folder"
    )


def _is_unfinished_run(folder: Path) -> bool:
    """Whether the folder is a training run's without a checkpoint."""
    try:
        config = read_object(folder / CONFIG_FILE, CheckpointError, "", max_bytes=MAX_CONFIG_BYTES)
    except CheckpointError:
        return False  # whoever loads it says what is wrong
    finished = (folder / "checkpoint" / CONFIG_FILE).is_file()
    return config.get("format") == RUN_FORMAT and not finished
