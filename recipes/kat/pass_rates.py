"""Pass rates of an agent on the test problems, without and with thinking, level by level.

python recipes/kat/pass_rates.py kat/data/test.jsonl --agent chat=smollm2-135m --questions 20
"""

import argparse
from pathlib import Path
from statistics import fmean

import chat_agent  # noqa: F401  (registers its agent)
import endpoint  # noqa: F401
from agents import AGENTS
from arithmetic import LEVELS
from dual import read_rows
from vocalmtp.evaluation.report import markdown_table


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", type=Path)
    parser.add_argument("--agent", default="chat=smollm2-135m", help="as in dual.yaml")
    parser.add_argument("--model", help="its name at an endpoint")
    parser.add_argument("--questions", type=int, default=20, help="of every level")
    parser.add_argument("--takes", type=int, default=2)
    options = parser.parse_args()
    rows = read_rows(options.problems)
    table = {}
    for name, thinks in (("at once", False), ("after thinking", True)):
        agent = AGENTS.create(options.agent, thinks=thinks, model=options.model)
        table[name] = []
        for level in LEVELS:
            chosen = [row for row in rows if row["level"] == level][: options.questions]
            made = agent.attempt([row["prompt"] for row in chosen], options.takes, seed=0)
            passed = [
                attempt.answer == row["answer"]
                for row, attempts in zip(chosen, made, strict=True)
                for attempt in attempts
            ]
            table[name].append(f"{fmean(passed):.0%}")
    header = ["right", *(f"level {level}" for level in LEVELS)]
    print(markdown_table(header, [[name, *cells] for name, cells in table.items()]))


if __name__ == "__main__":
    main()
