"""`vocalmtp tokenizers convert`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def convert(
    name: Annotated[str, typer.Argument(help="A card whose 'show' says to convert.")],
    files: Annotated[
        list[Path], typer.Argument(help="The published checkpoint: all of its files.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The tokenizer's folder to write.")
    ],
) -> None:
    """Check a published checkpoint and write it as a tokenizer's folder.

    A pickle is read as tensors only. Every key and shape is compared first.

    Example:

    vocalmtp tokenizers convert facodec ns3_facodec_encoder.bin ns3_facodec_decoder.bin -o facodec
    """
    from vocalmtp.tokenizers import convert as conversion

    tokenizer = conversion.convert(name, files)
    tokenizer.save_pretrained(output)
    spec = tokenizer.spec
    print(f"{output}: tokenizer '{spec.name}' ({spec.hash})", file=sys.stderr)
