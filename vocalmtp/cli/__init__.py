"""The command line: one file per group of verbs; heavy imports are inside the verbs."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from vocalmtp.cli import (
    batch,
    bench,
    chat,
    describe,
    drafts,
    evaluate,
    get,
    serve,
    synthesis,
    tokenizers,
    training,
    voices,
)
from vocalmtp.cli.options import verb
from vocalmtp.errors import ErrorCode, InputError, nearest

# The base of every "no such option" and "not a number"; typer bundles its own copy of click.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="vocalmtp",
    help="Speech language models with multi-token prediction. Start with: "
    'vocalmtp tts "Hello there." -o hello.wav',
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SPEAK, TRAIN, MEASURE, TEXT = "Synthesis", "Training", "Evaluation", "Text LMs"
verb(app, "tts", panel=SPEAK)(synthesis.tts)
verb(app, "batch", panel=SPEAK)(batch.batch)
verb(app, "chat", panel=SPEAK)(chat.chat)
verb(app, "serve", panel=SPEAK)(serve.serve)
verb(app, "get", panel=SPEAK)(get.get)
app.add_typer(voices.voices_app, name="voices", rich_help_panel=SPEAK)
app.add_typer(voices.roles_app, name="roles", rich_help_panel=SPEAK)
app.command("info", rich_help_panel=SPEAK)(describe.info)
verb(app, "prepare", panel=TRAIN)(training.prepare)
app.add_typer(tokenizers.app, name="tokenizers", rich_help_panel=TRAIN)
verb(app, "tokenize", panel=TRAIN)(tokenizers.tokenize)
verb(app, "detokenize", panel=TRAIN)(tokenizers.detokenize)
verb(app, "train", panel=TRAIN)(training.train)
verb(app, "export", panel=TRAIN)(training.export)
app.add_typer(evaluate.app, name="eval", rich_help_panel=MEASURE)
verb(app, "ablate", panel=MEASURE)(training.ablate)
verb(app, "bench", panel=MEASURE)(bench.bench)
app.add_typer(drafts.app, name="text", rich_help_panel=TEXT)

LONGEST = 1000  # characters of an error line


def _print_version(requested: bool) -> None:
    if requested:
        import vocalmtp

        print(f"vocalmtp {vocalmtp.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Print the help without a verb."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. A user error is one line on standard error and exit status 2."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # a file name may not be valid text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()  # so that a full disk is reported
    except InputError as error:
        _stop(str(error), error.code)
    except USAGE_ERROR as error:
        _stop(*_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe has ended
        _drop_output()
        sys.exit(1)
    except OSError as error:  # a full disk, a missing permission, a damaged folder
        _drop_output()
        where = "output" if error.filename is None else f"file '{error.filename}'"
        _stop(f"{where}: {error.strerror or error}; correct that, or choose another", "unusable")
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Exception) -> tuple[str, ErrorCode]:
    """The line and code of an error of the command-line parser."""
    message = error.format_message()  # type: ignore[attr-defined]
    match type(error).__name__:
        case "NoSuchOption" if message.partition(": ")[2][1:2].isdigit():  # such as "-5 degrees"
            return f"{message}; put -- before a text that begins with a dash", "unknown_name"
        case "NoSuchOption" | "NoSuchCommand":
            return message, "unknown_name"
        case "UsageError" if message.startswith("No such command"):
            context = error.ctx  # type: ignore[attr-defined]
            name = message.split("'")[1]
            hint = nearest(name, context.command.list_commands(context))
            return f"command '{name}': unknown; {hint}", "unknown_name"
        case "MissingParameter":
            return message, "missing"
        case _ if "unexpected extra argument" in message:
            return f"{message}; put a text with spaces in quotes", "invalid_value"
    if not message:
        return "verb: is missing; choose one of those above", "missing"
    return message, "invalid_value"


def _terminate(number: int, frame: object) -> None:
    """End as after Ctrl-C: partial files are removed on the way out."""
    raise SystemExit(128 + number)


def _drop_output() -> None:
    """Discard buffered output, which the interpreter would try to write again at exit."""
    with suppress(OSError, ValueError):  # standard output may have been replaced
        pipe = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe)


def _stop(message: str, code: ErrorCode) -> NoReturn:
    line = " ".join(message.split())
    if len(line) > LONGEST:  # a name of thousands of characters; the reason and the fix are last
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print(f"error: {line} [{code}]", file=sys.stderr)
    sys.exit(2)
