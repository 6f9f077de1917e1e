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
app.command("tts")(speak.tts)
app.add_typer(voices.app, name="voices")
app.add_typer(roles.app, name="roles")
app.command("info")(describe.info)
app.command("prepare")(prepare.prepare)
app.command("train")(training.train)
app.add_typer(tokenizers.app, name="tokenizers")
app.command("tokenize")(training.tokenize)
app.command("detokenize")(tokenizers.detokenize)
app.command("export")(training.export)
app.command("generate")(text.generate)
app.command("draft-vocab")(drafts.draft_vocab)
app.command("draft-tree")(drafts.draft_tree)
app.command("distill-data")(text.distill_data)
app.command("ablate")(ablate.ablate)
app.command("chat")(chat.chat)
app.command("bench")(bench.bench)
app.add_typer(evaluate.app, name="eval")


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
        _stop(str(error))
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
