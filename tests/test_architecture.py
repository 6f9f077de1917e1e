"""Imports run one way: no circles between modules, and down the table of ARCHITECTURE.md."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vocalmtp"


def places() -> dict[str, int]:
    """Package or module of `vocalmtp` -> its row in the table, from the top."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:[\w/.]+(?:, )?)+) \|", text.partition("| where |")[2], re.MULTILINE)
    names = [(name, row) for row, cell in enumerate(rows) for name in cell.split(", ")]
    return {name.removesuffix(".py").removesuffix("/"): row for name, row in names}


@cache
def imported(file: Path) -> frozenset[str]:
    """Dotted modules of `vocalmtp` that a file imports anywhere in it, type-only imports excluded."""
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
        found |= {name for name in names if name.startswith("vocalmtp.")}
    return frozenset(found)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in PACKAGE.rglob("*.py")
    }


def test_every_package_and_module_is_in_the_table():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__main__", "__pycache__", "pretrained"} == set(places())


def test_imports_run_down_the_table():
    order, wrong = places(), []
    for file in sorted(PACKAGE.rglob("*.py")):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in order:  # the package itself, which imports on demand
            continue
        others = {name.split(".")[1] for name in imported(file)}
        for other in others & order.keys() - {part}:
            if order[other] < order[part]:
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_no_circle_between_modules():
    """Repeatedly remove modules that import no remaining module: none must be left."""
    files = modules()
    edges: dict[str, set[str]] = {}
    for name, file in files.items():
        targets = set()
        for dotted in imported(file):
            owner = dotted if dotted in files else dotted.rpartition(".")[0]
            if owner in files and owner != name:
                targets.add(owner)
        edges[name] = targets
    while leaves := [name for name, targets in edges.items() if not targets]:
        for name in leaves:
            del edges[name]
        for targets in edges.values():
            targets.difference_update(leaves)
    circles = {name for name in edges if any(name in edges[other] for other in edges)}
    assert not circles


def test_the_catalogue_holds_cards_alone():
    """A Python file in tokenizers/ would shadow the library of that name at the root."""
    kinds = {path.suffix for path in (ROOT / "tokenizers").rglob("*") if path.is_file()}
    assert kinds <= {".yaml", ".md"}


def test_the_catalogue_does_not_shadow_the_tokenizers_library(monkeypatch):
    import subprocess
    import sys

    code = "import tokenizers; tokenizers.Tokenizer"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
