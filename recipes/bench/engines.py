"""Measure the engines for CPUs beside other systems, as this CPU is and as one with AVX2 alone.

python recipes/bench/engines.py --output recipes/bench/results

Every measurement is a fresh process, as libraries choose their instructions when they are loaded.
Writes one JSON file for each, with its command, and prints a table of the figures that count. The
limits do not reach onnxruntime, which uses all instructions of the CPU in every row.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
CPUS = {"native": {}, "avx2": AVX2}
ENGINES = ("cpu", "onnx")
NEIGHBOURS = (0, 2)
SINGLE = (  # of `vocalmtp bench` without --peers
    "real-time factor, batch 1",
    "throughput of batch 16 over batch 1",
    "first audio",
    "vocalmtp tts, complete process",
    "share of Python and dispatch, batch 1",
)


def commands(quick: bool) -> dict[str, tuple[str, list[str]]]:
    """Every measurement by its name: the CPU's, and the arguments of `vocalmtp bench`."""
    extra = ["--quick"] if quick else []
    found = {}
    for cpu in CPUS:
        found[f"{cpu}_cpu"] = (cpu, ["mini", "--engine", "cpu", *extra])
        for engine in ENGINES:
            for count in NEIGHBOURS:
                options = ["--peers", "--engine", engine, "--neighbours", str(count)]
                name = f"{cpu}_{engine}_peers_{count}_neighbours"
                found[name] = (cpu, ["mini", *options, *extra])
    return found


def measure(name: str, cpu: str, arguments: list[str], output: Path) -> dict:
    """Run one measurement; its report, with the command."""
    file = output / f"{name}.json"
    command = [sys.executable, "-m", "vocalmtp", "bench", *arguments, "--json", str(file)]
    done = subprocess.run(command, env=os.environ | CPUS[cpu], capture_output=True, text=True)
    if done.returncode:
        return {"metrics": [], "notes": [done.stderr.strip().splitlines()[-1]]}
    report = json.loads(file.read_text())
    limits = [f"{key}={value}" for key, value in CPUS[cpu].items()]
    report["command"] = " ".join([*limits, "vocalmtp", "bench", *arguments])
    file.write_text(json.dumps(report, indent=1) + "\n")
    return report


def rows(name: str, report: dict) -> list[str]:
    """The lines of the table for one report."""
    lines = []
    for metric in report["metrics"]:
        counts = metric["name"] in SINGLE or "over it" in metric["name"]
        if counts and metric["system"] != "next-token":
            low, value, high = (metric["estimate"][key] for key in ("low", "value", "high"))
            shown = f"{value:.3g} [{low:.3g}, {high:.3g}]"
            lines.append(f"| {name} | {metric['name']} | {metric['system']} | {shown} |")
    return lines or [f"| {name} | not measured: {'; '.join(report['notes'])} | | |"]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", default="", help="names of measurements that contain this")
    parser.add_argument("--quick", action="store_true", help="two repetitions each")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("| measurement | figure | system | value |\n|---|---|---|---|")
    for name, (cpu, options) in commands(arguments.quick).items():
        if arguments.only in name:
            print("\n".join(rows(name, measure(name, cpu, options, arguments.output))), flush=True)


if __name__ == "__main__":
    main()
