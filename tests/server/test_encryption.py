"""HTTPS: the speech interface and the page by a certificate, and files that are none."""

import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from helpers.chat_server import serving_process
from helpers.errors import raises_input_error
from helpers.waiting import wait_until

from vocalmtp.cli.serve import ServeOptions

DEADLINE = 120.0  # seconds, on a loaded machine


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the certificate of this machine and its key."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


def answers(url: str, trusted: ssl.SSLContext) -> bool:
    try:
        return httpx.get(url, verify=trusted, timeout=DEADLINE).status_code == 200
    except httpx.ConnectError:  # it does not listen yet
        return False


@pytest.mark.parametrize("verb", ["serve", "chat"])
def test_server_speaks_https(
    verb: str, folder: Path, authority: trustme.CA, certificate: Path
) -> None:
    options = ("--model", folder, "--llm", "echo", "--tls-certificate", certificate)
    with serving_process(*options, verb=verb, listens="https://127.0.0.1:") as (_, port):
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        path = "/health" if verb == "serve" else "/talk/assets/talk.js"
        url = f"https://127.0.0.1:{port}{path}"
        wait_until(lambda: answers(url, trusted))
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, timeout=DEADLINE)  # of an unknown authority


def test_files_that_are_no_certificate(
    tmp_path: Path, authority: trustme.CA, certificate: Path
) -> None:
    other = tmp_path / "other.pem"
    authority.issue_cert("other.test").private_key_pem.write_to_path(str(other))
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for cert, key in ((tmp_path / "none.pem", None), (text, None), (certificate, other)):
        with raises_input_error("unusable", "tls-certificate"):
            ServeOptions(tls_certificate=cert, tls_key=key).check_encryption()
    with raises_input_error("conflict", "tls-key"):
        ServeOptions(tls_key=certificate).check_encryption()
    with raises_input_error("conflict", "tls-certificate"):
        ServeOptions(tls_certificate=certificate, ray=1).check_processes()
