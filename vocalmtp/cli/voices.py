"""`vocalmtp voices` and `vocalmtp roles`: list, show and make them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vocalmtp.cli.console import print_table, tell
from vocalmtp.cli.options import ModelOptions, option, verb
from vocalmtp.hub import DEFAULT_MODEL

Consent = Annotated[
    bool,
    option(
        "--i-have-consent",
        help="The person in the recordings agreed to this voice; it is recorded in the file.",
    ),
]

voices_app = typer.Typer(
    help="List the voices of a model, or make one from recordings.", invoke_without_command=True
)
roles_app = typer.Typer(
    help="List roles (a persona with a voice), show one, or make one.", invoke_without_command=True
)


@voices_app.callback()
def voices(
    context: typer.Context,
    model: Annotated[
        str, option("--model", "-m", help="Name of a bundled model, or a model folder.")
    ] = DEFAULT_MODEL,
) -> None:
    """List the voices of a model and their origin; 'make' makes one from recordings.

    Example:

    vocalmtp voices

    """
    if context.invoked_subcommand is not None:
        return
    from vocalmtp.hub import model_folder
    from vocalmtp.loading import list_voices

    found = list_voices(model_folder(model))
    if not found:
        print(f"{model} has no voices of its own; give --voice a recording")
        return
    print_table(found.items(), ("voice", "origin"), f"Voices of {model}")


@dataclass(frozen=True, kw_only=True)
class MakeVoiceOptions(ModelOptions):
    """Options of `vocalmtp voices make`."""

    references: Annotated[
        list[Path],
        typer.Argument(help="Recordings of one person, 1 to 30 s each, with little noise."),
    ]
    output: Annotated[Path, option("--output", "-o", help="The voice file, such as me.safetensors")]
    name: Annotated[
        str | None, option(help="Name of the voice.", show_default="the output's name")
    ] = None
    transcript: Annotated[
        str | None,
        option(help="What is said in the only recording, for models that go on after it."),
    ] = None
    i_have_consent: Consent = False


@verb(voices_app, "make")
def make_voice_file(options: MakeVoiceOptions) -> None:
    """Make a voice from recordings of a person who agreed to it.

    Examples:

    vocalmtp voices make me.wav -o me.safetensors --i-have-consent

    vocalmtp tts "It is me." --voice me.safetensors

    """
    from vocalmtp.loading import load_speech_tokenizer
    from vocalmtp.voices import check_voice_path, make_voice, state_consent

    output = options.output
    check_voice_path(output)
    consent = state_consent(options.i_have_consent)
    tokenizer = load_speech_tokenizer(options.model).to(options.torch_device())
    name, transcript = options.name or output.stem, options.transcript
    voice = make_voice(options.references, tokenizer, name, None, consent, transcript)
    voice.save(output)
    tell(f"{output}: voice '{voice.name}', {voice.origin}; consent {consent}")


@roles_app.callback()
def roles(context: typer.Context) -> None:
    """List the bundled roles; 'show' prints one, 'make' makes one.

    Example:

    vocalmtp roles

    """
    if context.invoked_subcommand is not None:
        return
    from vocalmtp.roles import list_roles, load_role

    cards = map(load_role, list_roles())
    rows = ((card.name, card.voice, card.style or "", card.persona) for card in cards)
    print_table(rows, ("role", "voice", "style", "persona"))


@roles_app.command("show")
def show_role(
    role: Annotated[str, typer.Argument(help="The name of a role, or its YAML file.")],
) -> None:
    """Print the card of a role.

    Example:

    vocalmtp roles show captain

    """
    from vocalmtp.roles import load_role

    defaults = {"consent": "not required: no person's voice"}
    for key, value in load_role(role).model_dump().items():
        print(f"{key}: {value or defaults.get(key, 'none')}")


@dataclass(frozen=True, kw_only=True)
class MakeRoleOptions(ModelOptions):
    """Options of `vocalmtp roles make`."""

    name: Annotated[str, typer.Argument(help="Name of the role.")]
    persona: Annotated[str, option(help="The persona, as a system prompt: 'You are ...'.")]
    voice: Annotated[
        str, option("--voice", "-v", help="The name of a voice, a voice file or a recording.")
    ]
    output: Annotated[
        Path | None,
        option("--output", "-o", help="The YAML file to write.", show_default="NAME.yaml"),
    ] = None
    style: Annotated[str | None, option(help="The manner of speaking, in words.")] = None
    greeting: Annotated[str | None, option(help="The first sentence of a conversation.")] = None
    i_have_consent: Consent = False


@verb(roles_app, "make")
def make_role(options: MakeRoleOptions) -> None:
    """Make a role from a persona and a voice.

    A recording needs the consent of the person in it.

    Example:

    vocalmtp roles make pilot --voice oscar --persona "You are a pilot, calm and brief."

    """
    from vocalmtp.config import parse
    from vocalmtp.loading import load
    from vocalmtp.roles import Role, is_file_name
    from vocalmtp.voices import NO_CONSENT, state_consent

    given = {key: getattr(options, key) for key in ("name", "persona", "voice", "style")}
    given |= {"greeting": options.greeting, "origin": "unknown", "consent": ""}
    role = parse(Role, given, f"role '{options.name}'")
    voice = load(options.model, **options.runtime()).find_voice(role)
    assert voice is not None, "a role names a voice"
    consent = voice.consent
    if is_file_name(options.voice) and consent == NO_CONSENT:  # made of a recording
        consent = state_consent(options.i_have_consent)
    role = role.model_copy(update={"origin": voice.origin, "consent": consent})
    path = role.save(options.output or Path(f"{options.name}.yaml"))
    tell(f"{path}: role '{role.name}', voice {role.voice} ({role.origin})")
