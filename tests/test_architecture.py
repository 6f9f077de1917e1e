"""Imports run one way: down the table of ARCHITECTURE.md, which has every package and module."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vocalmtp"


def places() -> dict[str, int]:
    """Package or module of `vocalmtp` -> its row in the table, from the top."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:[\w/.]+(?:, )?)+) \|", text.partition("| where |")[2], re.MULTILINE)
    names = [(name, row) for row, cell in enumerate(rows) for name in cell.split(", ")]
    return {name.removesuffix(".py").removesuffix("/"): row for name, row in names}


def imported(file: Path) -> set[str]:
    """The parts of `vocalmtp` that a file imports, anywhere in it; not those for types alone."""
    tree, found = ast.parse(file.read_text(encoding="utf-8")), set()
    typing = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("vocalmtp.")}
    return found


def test_every_package_and_module_is_in_the_table():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__main__", "__pycache__", "pretrained"} == set(places())


def test_imports_run_down_the_table():
    order, wrong = places(), []
    for file in sorted(PACKAGE.rglob("*.py")):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in order:  # the package itself, which imports on demand
            continue
        for other in imported(file) & order.keys() - {part}:
            if order[other] < order[part]:
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong
