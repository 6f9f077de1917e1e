"""Assertions on user errors: by code and key, never by wording."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vocalmtp.errors import ERROR_CODES, ErrorCode, InputError


@contextmanager
def raises_input_error(
    code: ErrorCode, key: str | None = None, names: str | None = None
) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """Expect an InputError of `code`, about the field `key`, whose line quotes the value `names`."""
    assert code in ERROR_CODES
    with pytest.raises(InputError) as caught:
        yield caught
    error = caught.value
    assert (error.code, error.key) == (code, key or error.key), str(error)
    assert names is None or names in str(error), str(error)
    assert "\n" not in str(error)


def error_code(stderr: str) -> str:
    """The code of the one error line that the command line printed; "" if there is none."""
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) <= 1, stderr
    return lines[0].rpartition("[")[2].rstrip("]") if lines else ""
