"""Kill a batch at random times, complete it, and count items lost, incomplete or made twice.

python recipes/batch/kill.py --lines 1000 --kills 5 -- --workers 2

Options after -- are passed to `vocalmtp batch`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
from lines import write_list


def check(folder: Path, lines: int) -> dict[str, int]:
    """Count items that are lost, incomplete and made twice, and files without a row."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    incomplete = 0
    for row in rows:
        try:
            seconds = soundfile.info(folder / row["audio"]).duration
        except soundfile.SoundFileError:
            seconds = 0.0
        incomplete += abs(seconds - row["seconds"]) > 1e-3
    ids = {row["id"] for row in rows if row["status"] == "ok"}
    names = {path.name for path in folder.iterdir()} - {"manifest.jsonl", "job.json", ".lock"}
    return {
        "lost": lines - len(ids),
        "incomplete": incomplete,
        "made twice": len(rows) - len(ids),
        "without a row": len(names - {row["audio"] for row in rows}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*", help="for vocalmtp batch")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as work:
        items, out = Path(work) / "items.txt", Path(work) / "out"
        write_list(items, arguments.lines, generator)
        command = [sys.executable, "-m", "vocalmtp", "batch", str(items)]
        command += ["-o", str(out), *arguments.options]
        for number in range(arguments.kills):
            there = len(list(out.glob("*.wav")))
            more = generator.randrange(arguments.lines // (arguments.kills + 1))
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(list(out.glob("*.wav"))) < there + more:
                time.sleep(0.05)
            time.sleep(generator.uniform(0, 0.5))
            process.kill()
            process.wait()
            print(f"kill {number + 1}: {len(list(out.glob('*.wav')))} files", flush=True)
        code = subprocess.run(command).returncode
        found = check(out, arguments.lines)
    print(f"exit status {code}; of {arguments.lines} items: {found}")
    sys.exit(code or any(found.values()))


if __name__ == "__main__":
    main()
