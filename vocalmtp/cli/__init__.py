"""The command line: one file per group of verbs, heavy imports inside the verbs."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from vocalmtp.cli import (
    ablate,
    bench,
    chat,
    describe,
    drafts,
    evaluate,
    prepare,
    roles,
    speak,
    text,
    tokenizers,
    training,
    voices,
)
from vocalmtp.errors import InputError

# The base of every "no such option" and "not a number"; typer brings its own copy of click.
USAGE_ERROR = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="vocalmtp",
    help="Speech language models that emit several tokens a step. Start with: "
    'vocalmtp tts "Hello there." -o hello.wav',
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SPEAK, TRAIN, MEASURE, TEXT = "Speak", "Train", "Measure", "Text and drafts"
app.command("tts", rich_help_panel=SPEAK)(speak.tts)
app.command("chat", rich_help_panel=SPEAK)(chat.chat)
app.add_typer(voices.app, name="voices", rich_help_panel=SPEAK)
app.add_typer(roles.app, name="roles", rich_help_panel=SPEAK)
app.command("info", rich_help_panel=SPEAK)(describe.info)
app.command("prepare", rich_help_panel=TRAIN)(prepare.prepare)
app.add_typer(tokenizers.app, name="tokenizers", rich_help_panel=TRAIN)
app.command("tokenize", rich_help_panel=TRAIN)(training.tokenize)
app.command("detokenize", rich_help_panel=TRAIN)(tokenizers.detokenize)
app.command("train", rich_help_panel=TRAIN)(training.train)
app.command("export", rich_help_panel=TRAIN)(training.export)
app.add_typer(evaluate.app, name="eval", rich_help_panel=MEASURE)
app.command("ablate", rich_help_panel=MEASURE)(ablate.ablate)
app.command("bench", rich_help_panel=MEASURE)(bench.bench)
app.command("generate", rich_help_panel=TEXT)(text.generate)
app.command("distill-data", rich_help_panel=TEXT)(text.distill_data)
app.command("draft-vocab", rich_help_panel=TEXT)(drafts.draft_vocab)
app.command("draft-tree", rich_help_panel=TEXT)(drafts.draft_tree)


def _print_version(asked: bool) -> None:
    if asked:
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
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what a user did wrong is one line on stderr and exit status 2.

    OMP_WAIT_POLICY is set to "passive" unless it is set: threads that spin while they wait make
    speech tens of times slower on a machine whose cores are busy.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()  # not at exit, where nobody would hear of a full disk
    except InputError as error:
        _stop(f"{error} [{error.code}]")
    except USAGE_ERROR as error:
        _stop(error.format_message() or "verb: is missing; choose one of those above")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our pipe has gone: nobody is there to be told
        _drop_output()
        sys.exit(1)
    except OSError as error:  # a full disk, a missing permission, a damaged folder
        _drop_output()
        where = "output" if error.filename is None else f"file '{error.filename}'"
        _stop(f"{where}: {error.strerror or error}; mend that, or choose another")
    sys.exit(code if isinstance(code, int) else 0)


def _terminate(number: int, frame: object) -> None:
    """End as after Ctrl-C: what is half written is removed on the way out."""
    raise SystemExit(128 + number)


def _drop_output() -> None:
    """Forget what could not be written: the interpreter would try again at its exit."""
    with suppress(OSError, ValueError):  # somebody may have put a stream of theirs in its place
        pipe = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe)


def _stop(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
