"""`vocalmtp eval`: measure models and recordings."""

import typer

app = typer.Typer(help="Measure how clear, how alike, how clean and how fast speech is.")


@app.callback()
def root() -> None:
    pass
