"""The Typer application and its entry point: parse, run, exit with the right code."""

import io
import signal
import sys
import warnings
from collections.abc import Sequence

import typer

from avsent import __version__
from avsent.cli import batch, data, doctor, evaluate, models, outcome, predict, report, train
from avsent.cli.options import DEBUG, SESSION, option
from avsent.errors import UsageError

PROGRAM = "avsent"

# The base class of all errors about the command line, in Typer's own copy of click and, with
# older Typer, in click itself.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name=PROGRAM,
    pretty_exceptions_enable=False,
    # Plain help: it fits every terminal and pipe, and needs no escapes in its texts.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("predict", short_help="Predict the sentiment of each utterance.")(predict.predict)
app.command("batch", short_help="Process folders; resumes after an interruption.")(batch.batch)
app.command("train", short_help="Train a model on your own labelled videos.")(train.train)
app.command("evaluate", short_help="Evaluate a checkpoint on labelled data.")(evaluate.evaluate)
app.command("extract", short_help="Write the features of a corpus to one file.")(data.extract)
app.command("report", short_help="Write a page about a result or a batch.")(report.report)
app.command("plot", short_help="Plot a training run, or the timeline of a result.")(report.plot)
app.add_typer(data.app, name="data", short_help="Check a training corpus, or write a manifest.")
app.add_typer(models.app, name="models", short_help="List, describe or verify models.")
app.command("doctor", short_help="Check whether avsent can work here.")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    debug: bool = DEBUG,
    version: bool = option(
        "--version", "Print the version and exit.", False, callback=_print_version, is_eager=True
    ),
) -> None:
    """Per-utterance sentiment with attention weights from talking-head video.

    Uses voice and face only, no transcript. Runs offline; models are included.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; ``sys.argv`` by default."""
    SESSION.debug, SESSION.context = False, None
    for stream in (sys.stdout, sys.stderr):
        # Names in any script must not fail on a terminal that cannot encode them.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if arguments is None and not sys.warnoptions:
        # Warnings of libraries are meant for developers.
        warnings.simplefilter("ignore")
    if arguments is None:
        # Like Ctrl-C, so that unfinished files are removed. Containers stop with SIGTERM.
        signal.signal(signal.SIGTERM, _stop)
    command = typer.main.get_command(app)
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = command.main(args, prog_name=PROGRAM, standalone_mode=False)
        with outcome.printing():
            pass
    except (KeyboardInterrupt, typer.Abort):
        code = outcome.INTERRUPTED
    except outcome.ReaderGoneError:
        return outcome.READER_GONE
    except _CommandLineError as error:
        context = getattr(error, "ctx", None) or SESSION.context
        message = getattr(error, "format_message", error.__str__)()
        return _report_usage(context, message)
    except UsageError as error:
        outcome.report_error(error, debug=SESSION.debug)
        return _report_usage(SESSION.context, None)
    except Exception as error:
        return outcome.report_error(error, debug=SESSION.debug)
    if code == outcome.INTERRUPTED:
        outcome.say("", "interrupted")
    return code if isinstance(code, int) else 0


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _report_usage(context: typer.Context | None, message: str | None) -> int:
    if message is not None:
        outcome.say("error", message)
    if context is not None:
        print(context.get_usage(), file=sys.stderr)
        print(f"Try '{context.command_path} --help' for help.", file=sys.stderr)
    return UsageError.exit_code
