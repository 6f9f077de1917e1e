"""Conversion of llama.cpp's GGUF files to folders of Transformers."""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import reason
from vocalmtp.optional import require


def require_gguf() -> None:
    """Raise InputError if a package for the conversion is missing."""
    for name in ("gguf", "accelerate"):
        require(name)


def convert_gguf(file: Path, folder: Path) -> None:
    """Write a GGUF file's causal LM and text tokenizer into `folder`, and remove the file.

    Weights are dequantized to float16, which keeps more digits of 4-bit blocks than bfloat16.

    Args:
        file: the causal LM, its tokenizer and chat template.
        folder: gets config.json, model.safetensors and the tokenizer's files.

    Raises:
        InputError: a package is missing, or Transformers cannot read the file.

    """
    require_gguf()
    with quiet(), redirect_stderr(StringIO()):  # which has bars of tqdm
        _convert(file, folder)
    file.unlink()


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        packed = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        # A model that was loaded from GGUF refuses to be saved.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(packed.state_dict())
        model.generation_config = packed.generation_config
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"file '{file.name}': cannot be converted ({reason(error)}); run: "
            "pip install --upgrade transformers gguf",
            code="unusable",
        ) from error
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
