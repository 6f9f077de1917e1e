"""`vocalmtp roles`: list the roles, show one, or make one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vocalmtp.cli.voices import Consent, Model
from vocalmtp.hub import DEFAULT_MODEL

app = typer.Typer(help="The roles: a persona with a voice each.", invoke_without_command=True)


@app.callback()
def table(context: typer.Context) -> None:
    """List the roles that came with the package; 'show' prints one, 'make' makes one."""
    if context.invoked_subcommand is not None:
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vocalmtp.roles import list_roles, load_role

    rows = Table("role", "voice", "manner", "persona", box=box.SIMPLE_HEAD, pad_edge=False)
    for role in map(load_role, list_roles()):
        cells = (role.name, role.voice, role.style or "", role.persona)
        rows.add_row(*(escape(cell) for cell in cells))
    Console().print(rows)


@app.command()
def show(
    role: Annotated[str, typer.Argument(help="The name of a role, or the YAML file of one.")],
) -> None:
    """Print everything that the card of a role says.

    Example:

    vocalmtp roles show captain
    """
    from vocalmtp.roles import load_role

    nothing = {"consent": "not needed: the voice is nobody's"}
    for key, value in load_role(role).model_dump().items():
        print(f"{key}: {value or nothing.get(key, 'none')}")


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="What to call the role.")],
    persona: Annotated[str, typer.Option(help="Who speaks, as a model is told it: 'You are ...'.")],
    voice: Annotated[
        str, typer.Option("--voice", "-v", help="A voice's name, a voice file or a recording.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The YAML file to write.", show_default="NAME.yaml"),
    ] = None,
    style: Annotated[str | None, typer.Option(help="The manner of speaking, in words.")] = None,
    greeting: Annotated[
        str | None, typer.Option(help="What is said when a conversation begins.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    i_have_consent: Consent = False,
) -> None:
    """Make a role of a persona and a voice.

    A recording is a voice only with the consent of the person in it.

    Example:

    vocalmtp roles make pilot --voice otto --persona "You are a pilot, calm and brief."
    """
    from vocalmtp.config import parse
    from vocalmtp.roles import Role, is_file_name
    from vocalmtp.tts import load
    from vocalmtp.voices import NO_CONSENT, state_consent

    fields = {"name": name, "persona": persona, "voice": voice, "style": style}
    fields |= {"greeting": greeting, "origin": "not looked up yet", "consent": ""}
    role = parse(Role, fields, f"role '{name}'")
    found = load(model).find_voice(role)
    consent = found.consent
    if is_file_name(voice) and consent == NO_CONSENT:  # a recording, or a voice file made of one
        consent = state_consent(i_have_consent)
    role = role.model_copy(update={"origin": found.origin, "consent": consent})
    path = role.save(output or Path(f"{name}.yaml"))
    print(f"{path}: role '{role.name}', voice {role.voice} ({role.origin})", file=sys.stderr)
