"""Train and measure the text methods at small scale, and write their report.

python recipes/mtp_methods/text/run.py --share corpus/texts/usr/share --work mtp_text

The same command resumes: trained models and the figures of finished checks are kept.
"""

import argparse
import json
import os
from pathlib import Path

import torch

import stars
import texts
from checks import CHECKS
from report import write_report

ARMS, LENGTH = 3, 3  # of the star graphs


def main() -> None:
    """Run the checks that the command line selects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=Path, help="usr/share of the packages of recipes/corpus")
    parser.add_argument("--work", type=Path, default=Path("mtp_text"))
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--seeds", type=int, default=1, help="of the curricula")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    share = None if arguments.share is None else arguments.share.resolve()
    os.chdir(arguments.work)
    torch.set_num_threads(1)
    settings = {"star": {"arms": ARMS}, "curriculum": {"seeds": arguments.seeds}}
    for name in arguments.only:
        prepare(name, share, parser)
        file = Path(f"figures_{name}.json")
        if not file.is_file():
            rows = list(CHECKS[name](**settings.get(name, {})))
            file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        write_report(Path())


def prepare(name: str, share: Path | None, parser: argparse.ArgumentParser) -> None:
    """Make the data of a check, unless it exists."""
    if name == "star":
        if not Path("stars/labels").is_dir():
            stars.write_stars(Path("stars"), ARMS, LENGTH, train=150_000, test=300)
    elif not Path("texts/bpe").is_dir():
        if share is None:
            parser.error("--share is needed to make the texts")
        texts.write_texts(share, Path("texts"))


if __name__ == "__main__":
    main()
