"""Make the three tables of methods, on speech and on text, one after another.

python recipes/mtp_methods/run.py --corpus corpus --output mtp_methods

The same command resumes. Every part has a folder with its report: report.json, report.md and plots.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SPEECH = ("emission", "drafting", "objectives")
TEXT = "text"


def command(part: str, corpus: Path, output: Path, jobs: int) -> list[str]:
    """Arguments of Python that make one part."""
    if part == TEXT:
        share = corpus / "texts/usr/share"
        options = ["--share", str(share), "--work", str(output), "--seeds", "3"]
        return [str(HERE / "text/run.py"), *options]
    grid = HERE / "speech" / f"{part}.yaml"
    options = ["--output", str(output), "--jobs", str(jobs)]
    return ["-m", "vocalmtp", "ablate", str(grid), f"corpus={corpus}", *options]


def main() -> None:
    """Run the parts that the command line selects."""
    parts = (*SPEECH, TEXT)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="made by recipes/corpus")
    parser.add_argument("--output", type=Path, default=Path("mtp_methods"))
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--jobs", type=int, default=1, help="concurrent trainings, on speech")
    arguments = parser.parse_args()
    failed = []
    for part in arguments.only:
        line = command(
            part, arguments.corpus.resolve(), (arguments.output / part).resolve(), arguments.jobs
        )
        if subprocess.run([sys.executable, *line], check=False).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the same command resumes")


if __name__ == "__main__":
    main()
