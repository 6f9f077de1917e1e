"""Actions of browser tests on the page."""

import os
from pathlib import Path
from typing import Any


def wait_for_state(page: Any, name: str) -> None:
    """Wait until the page is in that state."""
    page.wait_for_selector(f"#talk[data-state={name}]")


def ask(page: Any, text: str) -> None:
    """Type a question."""
    page.fill("#talk-text", text)
    page.keyboard.press("Enter")


def wait_for_answer(page: Any, count: int = 1) -> str:
    """Wait until the `count`-th answer was played, and return its text."""
    page.wait_for_function(
        """(count) => document.querySelectorAll(".talk-answer").length === count
           && document.querySelector("#talk").dataset.state === "listening" """,
        arg=count,
    )
    return page.locator(".talk-answer").last.inner_text()


def screenshot(page: Any, name: str) -> None:
    """Save a screenshot in the folder that VOCALMTP_SCREENSHOTS names, if it does."""
    folder = os.environ.get("VOCALMTP_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")
