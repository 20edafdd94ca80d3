"""What ``avsent predict`` makes of a video besides its result: report, annotated video, plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsent.errors import UsageError
from avsent.writers.files import check_target

if TYPE_CHECKING:
    from avsent.faces.types import Sighting
    from avsent.progress import ProgressHook
    from avsent.results import Result

ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Also write a page to look at: timeline, faces, spectrograms, attention.",
        show_default=False,
    ),
]
EmbedOption = Annotated[
    bool,
    typer.Option("--embed", help="Put the video into the report, so that it can be passed on."),
]
AnnotateOption = Annotated[
    Path | None,
    typer.Option(
        "--annotate",
        metavar="FILE.mp4",
        help="Also write the video with faces, sentiment and text drawn into it.",
        show_default=False,
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE.png|svg|pdf",
        help="Also draw the timeline, for a paper.",
        show_default=False,
    ),
]
PLOT_ENDINGS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Products:
    """Files to be made of one video, each None where it was not asked for."""

    report: Path | None = None
    embed: bool = False
    annotate: Path | None = None
    plot: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """The files, in the order they are made."""
        return [path for path in (self.plot, self.report, self.annotate) if path is not None]

    @property
    def need_faces(self) -> bool:
        """Whether it must be known where each face was."""
        return self.report is not None or self.annotate is not None

    def check(self, paths: Sequence[Path], inputs: Sequence[Path]) -> None:
        """Find out before the work whether all can be made, and overwrites no input.

        Raises
        ------
        UsageError, OutputError
            They cannot.
        """
        if self.embed and self.report is None:
            raise UsageError("--embed goes with --report")
        if self.targets and len(paths) > 1:
            raise UsageError(
                "--report, --annotate and --plot are for one video at a time; for many use "
                "'avsent batch' and 'avsent report'"
            )
        if self.annotate is not None and self.annotate.suffix.lower() not in {".mp4", ".mkv"}:
            raise UsageError(f"--annotate {self.annotate}: end the name in .mp4 or .mkv")
        if self.plot is not None and self.plot.suffix.lower() not in PLOT_ENDINGS:
            raise UsageError(f"--plot {self.plot}: end the name in {', '.join(PLOT_ENDINGS)}")
        for target in self.targets:
            check_target(target, inputs)
        if len(set(self.targets)) < len(self.targets):
            raise UsageError("--report, --annotate and --plot need names of their own")

    def make(
        self,
        path: Path,
        result: Result,
        sightings: Sequence[Sighting],
        on_progress: ProgressHook,
        wrote: Callable[[Path], None],
    ) -> None:
        """Make all of them of the video ``path``; ``wrote`` is called with each file."""
        if self.plot is not None:
            from avsent.report.timeline import save_timeline

            save_timeline(self.plot, result)
            wrote(self.plot)
        if self.report is not None:
            from avsent.report.page import write_report

            write_report(
                self.report,
                result,
                media=path,
                sightings=sightings,
                embed=self.embed,
                on_progress=on_progress,
            )
            wrote(self.report)
        if self.annotate is not None:
            from avsent.annotate.video import annotate

            annotate(path, self.annotate, result, sightings, on_progress)
            wrote(self.annotate)
