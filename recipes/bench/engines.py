"""Measure the engines for CPUs beside hibari-tts, as this CPU is and as one with AVX2 alone.

python recipes/bench/engines.py --output recipes/bench/results

One fresh process for each kind of CPU, as libraries choose their instructions when they are loaded. In
it, all systems are measured in turns, with 0, 1 and 2 busy processes beside them. Writes engines.json
after every figure and engines.md at the end; what fails or takes too long is missing there, and the
rest is kept. The limits do not reach onnxruntime, which uses all instructions of the CPU in every row.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
CPUS: dict[str, dict[str, str]] = {"native": {}, "avx2": AVX2}
ENGINES = ("cpu", "onnx")
NEIGHBOURS = (0, 1, 2)
PEER = "hibari"
REPEATS = 5
MOST_SECONDS = 210  # of one kind of CPU, after which its process is ended
PACKAGES = ("torch", "onnxruntime", "hibari-tts")
Row = tuple[str, str, tuple[str, str, int], str, str]
ROWS: tuple[Row, ...] = (  # title, unit, (figure, kind of CPU, neighbours), must, aim
    ("RTF over hibari's", "x", ("rtf", "native", 0), "1.5", "1"),
    ("RTF over hibari's, AVX2 alone", "x", ("rtf", "avx2", 0), "2", "1"),
    ("the same, one busy neighbour", "x", ("rtf", "native", 1), "", ""),
    ("the same, AVX2 alone", "x", ("rtf", "avx2", 1), "", ""),
    ("the same, two busy neighbours", "x", ("rtf", "native", 2), "2.5", "1.2"),
    ("the same, AVX2 alone", "x", ("rtf", "avx2", 2), "2.5", "1.2"),
    ("processor time over hibari's", "x", ("cpu time", "native", 0), "", ""),
    ("the same, two busy neighbours", "x", ("cpu time", "native", 2), "", ""),
    ("first audio, warm", "ms", ("first audio", "native", 0), "", ""),
    ("first audio, warm, AVX2 alone", "ms", ("first audio", "avx2", 0), "40", "15"),
    ("batch 16 over batch 1", "x", ("batch 16", "native", 0), "3", "6"),
    ("the same, AVX2 alone", "x", ("batch 16", "avx2", 0), "3", "6"),
    ("cold command", "s", ("cold", "native", 0), "3 / 1.2", "2 / .6"),
    ("the same, AVX2 alone", "s", ("cold", "avx2", 0), "3 / 1.2", "2 / .6"),
    ("peak memory of the command", "GiB", ("memory", "native", 0), "", ""),
    ("Python and dispatch in a step", "%", ("dispatch", "native", 0), "35", "15"),
    ("the same, AVX2 alone", "%", ("dispatch", "avx2", 0), "35", "15"),
)

Figure = dict[str, Any]  # figure, cpu, neighbours, system, and an estimate or an error


# -- in the process of one kind of CPU -----------------------------------------------------------


def measure(repeats: int) -> Iterator[Figure]:
    """Measure everything on this CPU, the most important first."""
    from vocalmtp.bench import speed
    from vocalmtp.bench.peers import PEERS
    from vocalmtp.loading import load

    models = {engine: load("mini", engine=engine, threads=1) for engine in ENGINES}
    peer = attempt(lambda: PEERS[PEER]())
    for count in NEIGHBOURS:
        yield from beside(models, peer, repeats, count)
    for engine, tts in models.items():
        yield figure("first audio", engine, lambda tts=tts: speed.first_audio(tts))
    for engine in ENGINES:
        done = attempt(lambda engine=engine: speed.cold_start("mini", 3, {"engine": engine}))
        for place, name in enumerate(("cold", "memory")):
            value = done if isinstance(done, str) else done[place]
            yield figure(name, engine, lambda value=value: value)
    for engine, tts in models.items():
        yield figure("dispatch", engine, lambda tts=tts: dispatch(tts))
        yield figure("batch 16", engine, lambda tts=tts: batch_gain(tts, max(1, repeats // 2)))


def beside(models: dict[str, Any], peer: Any, repeats: int, count: int) -> Iterator[Figure]:
    """Measure all systems in turns beside busy processes, and the ratios of the same turns."""
    from vocalmtp.bench.peers import in_turns
    from vocalmtp.evaluation.statistics import median_range

    systems = {name: lambda text, tts=tts: tts(text).duration for name, tts in models.items()}
    if not isinstance(peer, str):
        systems[PEER] = peer
    for name, found in zip(("rtf", "cpu time"), in_turns(systems, repeats, count), strict=True):
        for system, values in found.items():
            yield figure(f"{name}, alone", system, lambda v=values: median_range(v), count)
        for system in models:
            if isinstance(peer, str):
                yield figure(name, system, lambda: peer, count)
                continue
            ratios = [a / b for a, b in zip(found[system], found[PEER], strict=True)]
            yield figure(name, system, lambda v=ratios: median_range(v), count)


def figure(name: str, system: str, function: Callable[[], Any], count: int = 0) -> Figure:
    """Return what `function` measures, or why it failed."""
    made = attempt(function)
    own = {"figure": name, "system": system, "neighbours": count}
    if isinstance(made, str):
        return own | {"error": made}
    return own | {key: getattr(made, key) for key in ("low", "value", "high")}


def attempt(function: Callable[[], Any]) -> Any:
    """Return what a function returns, or one line if it fails: the other figures are kept."""
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def batch_gain(tts: Any, repeats: int) -> Any:
    """Throughput of batch 16 over that of batch 1."""
    from vocalmtp.bench.speed import real_time_factors
    from vocalmtp.evaluation.statistics import single

    factors = real_time_factors(tts, (1, 16), repeats)
    return single(factors[1].value / factors[16].value)


def dispatch(tts: Any) -> Any:
    """Percentage of the decode loop outside of what computes: operators, or graphs."""
    from vocalmtp.bench import profile
    from vocalmtp.evaluation.statistics import median_range

    share = profile.dispatch_share if hasattr(tts.full_model, "backbone") else profile.graph_share
    return median_range([100 * share(tts) for _ in range(3)])


# -- the processes and the table -----------------------------------------------------------------


def run(cpu: str, repeats: int, most: float) -> Iterator[Figure]:
    """Yield the figures of one kind of CPU while they are measured."""
    command = [sys.executable, __file__, "--measure", "--repeats", str(repeats)]
    limits = CPUS[cpu] | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        env=os.environ | limits,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # ended together with its busy processes
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=errors.extend, args=(process.stderr,))
        reader.start()
        timer = threading.Timer(most, end, (process,))
        timer.start()
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line) | {"cpu": cpu}
            code = process.wait()
        finally:
            timer.cancel()
            end(process)
        reader.join()
        if code:
            reason = f"ended after {most:.0f} s" if code < 0 or not errors else errors[-1].strip()
            yield {"figure": "all others", "system": cpu, "cpu": cpu, "error": reason}


def end(process: "subprocess.Popen[str]") -> None:
    """End a process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def table(figures: list[Figure]) -> str:
    """Return the figures that count as Markdown: a column for each engine."""
    known = {(f["figure"], f["cpu"], f.get("neighbours", 0), f["system"]): f for f in figures}
    lines = [f"| one thread, batch 1 | {' | '.join(ENGINES)} | must | aim |"]
    lines.append("|---|" + "---|" * (len(ENGINES) + 2))
    for title, unit, key, must, aim in ROWS:
        cells = [shown(known.get((*key, engine)), unit) for engine in ENGINES]
        lines.append(f"| {title} | {' | '.join(cells)} | {must} | {aim} |")
    lines += ["", "| seconds per second of audio | neighbours | " + " | ".join(CPUS) + " |"]
    lines.append("|---|---|" + "---|" * len(CPUS))
    for name in ("rtf, alone", "cpu time, alone"):
        for system in (*ENGINES, PEER):
            for count in NEIGHBOURS:
                cells = [shown(known.get((name, cpu, count, system)), "") for cpu in CPUS]
                title = f"{name.partition(',')[0]}, {system}"
                lines.append(f"| {title} | {count} | {' | '.join(cells)} |")
    failed = [
        f"- {f['cpu']}, {f['system']}, {f['figure']}: {f['error']}" for f in figures if "error" in f
    ]
    return "\n".join([*lines, *([""] if failed else []), *failed])


def shown(found: Figure | None, unit: str) -> str:
    """Return one figure as a cell."""
    if found is None or "error" in found:
        return "not measured"
    return f"{found['value']:.3g} {unit} [{found['low']:.3g}, {found['high']:.3g}]".replace(
        "  ", " "
    )


def heading() -> str:
    """Describe the machine: its CPU's instructions, its load, and the versions."""
    from vocalmtp.bench.peers import cpu_flags
    from vocalmtp.engines.cpu import cpu_name

    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    found = [f"{name} {attempt(lambda name=name: version(name))}" for name in PACKAGES]
    return (
        f"{cpu_name()} ({cpu_flags()}), {os.cpu_count()} cores{load}; Python "
        f"{platform.python_version()}, {', '.join(found)}. AVX2 alone: "
        f"{' '.join(f'{name}={value}' for name, value in AVX2.items())}, which onnxruntime ignores."
    )


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results"))
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns of each measurement")
    parser.add_argument("--most", type=float, default=MOST_SECONDS, help="seconds for each CPU")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        for made in measure(options.repeats):
            print(json.dumps(made), flush=True)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    start, machine = time.perf_counter(), heading()
    figures: list[Figure] = []
    for cpu in CPUS:
        for made in run(cpu, options.repeats, options.most):
            figures.append(made)
            print(json.dumps(made), file=sys.stderr, flush=True)
            content = {"machine": machine, "figures": figures}
            (options.output / "engines.json").write_text(json.dumps(content, indent=1) + "\n")
    report = f"{machine}\n\n{table(figures)}\n"
    (options.output / "engines.md").write_text(report)
    print(report)
    print(f"measured in {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
