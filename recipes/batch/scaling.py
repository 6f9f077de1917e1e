"""Measure throughput by batch size and number of workers; print a table.

python recipes/batch/scaling.py --lines 400
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from lines import write_list

from vocalmtp.batch import Job, Progress, run_batch


def measure(job: Job) -> float:
    """Seconds of speech per second, from the first to the last result."""
    seen: list[tuple[float, float]] = []

    def record(state: Progress) -> None:
        if state.made:
            seen.append((time.perf_counter(), state.seconds))

    run_batch(job, progress=record)
    (begin, before), (end, after) = seen[0], seen[-1]
    return (after - before) / (end - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=400)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--engine",
        default="local",
        help="local, or ray (some thousand lines: results come by hundreds)",
    )
    parser.add_argument("--model", default="mini")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        items = Path(work) / "items.txt"
        write_list(items, arguments.lines, random.Random(0))
        print(f"| batch | {' | '.join(f'{n} workers' for n in arguments.workers)} |")
        print("|---" * (len(arguments.workers) + 1) + "|")
        for size in arguments.batch_sizes:
            speeds = []
            for workers in arguments.workers:
                output = Path(work) / f"{size}-{workers}"
                job = Job(
                    input=items,
                    output=output,
                    model=arguments.model,
                    batch_size=size,
                    workers=workers,
                    engine=arguments.engine,
                )
                speeds.append(measure(job))
            print(f"| {size} | {' | '.join(f'{speed:.1f}' for speed in speeds)} |", flush=True)


if __name__ == "__main__":
    main()
