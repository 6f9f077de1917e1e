"""Messages and progress bars on standard error, tables on standard output."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PIPE_WIDTH = 160  # columns of a table that is not printed to a terminal


def tell(message: str) -> None:
    """Print a message on standard error."""
    sys.stderr.write(f"{message}\n")  # at once, as other processes may write to it


@contextmanager
def progress_bar(*columns: Any, hidden: bool = False) -> Iterator["Progress"]:
    """A progress display, which is hidden unless standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    shown = (BarColumn(), *columns, TimeRemainingColumn())
    disable = hidden or not console.is_terminal
    with Progress(*shown, console=console, transient=True, disable=disable) as bar:
        yield bar


@contextmanager
def counter(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `progress(done, total)`, which shows a bar with both numbers."""
    from rich.progress import MofNCompleteColumn, TextColumn

    with progress_bar(TextColumn("{task.description}"), MofNCompleteColumn()) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_table(
    rows: Iterable[Sequence[str]],
    header: Sequence[str],
    title: str | None = None,
    dense: bool = False,
) -> "Console":
    """Print a table, with narrow columns if `dense`; return the console, for notes below it."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    table = Table(*header, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, int(not dense))
    table.columns[0].style, table.columns[0].no_wrap = "bold", True
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    return console


def print_facts(sections: Iterable[tuple[str, Iterable[tuple[str, str]]]], title: str) -> None:
    """Print names and values in titled sections."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "", title=escape(title), title_justify="left", box=None, show_header=False)
    table.columns[0].style, table.columns[0].no_wrap = "bold", True
    for heading, facts in sections:
        if heading:
            table.add_section()
            table.add_row(f"[cyan]{heading}[/]", "")
        for name, value in facts:
            table.add_row(escape(f"  {name}"), escape(value))
    Console().print(table)
