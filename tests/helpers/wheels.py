"""Packages as pip finds them in a folder, without a network."""

import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0") -> str:
    """Write a wheel that contains `files`; its requirement."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = f"{name}-{version}.dist-info"
    members = files | {
        f"{meta}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{meta}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{meta}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in members.items():
            wheel.writestr(path, content)
    return f"{name}=={version}"


def sha256(content: bytes) -> str:
    """The digest that a card has of a file."""
    return hashlib.sha256(content).hexdigest()
