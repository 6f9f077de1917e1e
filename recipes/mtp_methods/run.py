"""The three tables of methods, on speech and on text, one thing after another.

python recipes/mtp_methods/run.py --corpus corpus --output mtp_methods

Stopped and started again, it goes on. Every part has a report in a folder of its own: report.json,
report.md and plots.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SPEECH = ("emission", "drafting", "objectives")
TEXT = "text"


def command(part: str, corpus: Path, output: Path, jobs: int) -> list[str]:
    """What makes one part."""
    if part == TEXT:
        share = corpus / "texts/usr/share"
        return [
            str(HERE / "text/run.py"),
            "--share",
            str(share),
            "--work",
            str(output),
            "--seeds",
            "3",
        ]
    grid = HERE / "speech" / f"{part}.yaml"
    options = ["--output", str(output), "--jobs", str(jobs)]
    return ["-m", "vocalmtp", "ablate", str(grid), f"corpus={corpus}", *options]


def main() -> None:
    parts = (*SPEECH, TEXT)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="made by recipes/corpus")
    parser.add_argument("--output", type=Path, default=Path("mtp_methods"))
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, on speech")
    asked = parser.parse_args()
    failed = []
    for part in asked.only:
        line = command(part, asked.corpus.resolve(), (asked.output / part).resolve(), asked.jobs)
        if subprocess.run([sys.executable, *line], check=False).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"not done: {', '.join(failed)}; run the same command again to go on")


if __name__ == "__main__":
    main()
