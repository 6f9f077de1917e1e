"""Published models in tests speak for less than a second."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def _short_speech() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocalmtp.decoding.synthesis.spoken_seconds", lambda units: 0.7)
        yield
