"""Hidden states of a frozen backbone, computed once and read in every epoch and run after it.

A draft head over a frozen backbone is trained on the backbone's states alone. Without this file, most
of the time of such a training goes into computing the same ones again.
Letters: N tokens of all rows together, n tokens of a row, D width.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from vocalmtp.data.text_rows import TextRows
from vocalmtp.io.atomic import atomic_path
from vocalmtp.models.prompts import States, Text
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training.distributed import Precision, is_first, usable_precision
from vocalmtp.training.run_files import progress_bar

HIDDEN, KEY = "hidden", "key"
POSITIONS = 2048  # of a batch


class StateRows(Dataset):
    """Rows of texts with the hidden states of their tokens, which stay on disk.

    Args:
        rows: the texts.
        file: as `compute_states` writes it.

    """

    def __init__(self, rows: TextRows, file: Path):
        self.rows, self.file, self.frames = rows, file, rows.frames
        ends = torch.tensor(self.frames).cumsum(0).tolist()
        self.spans = list(zip([0, *ends], ends, strict=False))

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> list[Text | States]:
        start, stop = self.spans[index]
        with safe_open(self.file, "pt") as content:
            hidden = content.get_slice(HIDDEN)[start:stop]  # [n, D]
        return [*self.rows[index], States(hidden)]


def with_states(
    rows: TextRows, model: TextLM, source: str, file: Path, precision: Precision
) -> StateRows:
    """Return the rows with their states, computed unless `file` has those of this model and texts.

    Args:
        rows: the texts.
        model: on its device.
        source: a name for the model's weights, such as their hash.
        file: to read, or to write; bfloat16 [N, D].
        precision: of the computation.

    """
    state = hashlib.sha256(f"{source} {precision} {rows.spans}".encode())
    state.update(rows.ids.numpy().tobytes())
    key = state.hexdigest()[:16]
    if saved_key(file) != key and is_first():
        hidden = compute_states(rows, model, precision)
        with atomic_path(file) as partial:
            save_file({HIDDEN: hidden}, partial, {KEY: key})
    return StateRows(rows, file)


def saved_key(file: Path) -> str | None:
    """Return what the states in a file are of; None if there is no such file."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as content:
            return (content.metadata() or {}).get(KEY)
    except SafetensorError:
        return None


@torch.inference_mode()
def compute_states(rows: TextRows, model: TextLM, precision: Precision) -> Tensor:
    """Run the backbone over all rows, batches of similar lengths at a time: [N, D]."""
    order = sorted(range(len(rows)), key=lambda index: rows.frames[index])
    found: dict[int, Tensor] = {}
    mixed = usable_precision(precision, model.device) == "bf16"
    total, done = sum(rows.frames), 0
    with progress_bar("hidden states") as show:
        while order:
            longest = rows.frames[order[-1]]
            batch = [order.pop() for _ in range(min(len(order), max(1, POSITIONS // longest)))]
            ids = torch.zeros(len(batch), longest, dtype=torch.long)
            for place, index in enumerate(batch):
                start, stop = rows.spans[index]
                ids[place, : stop - start] = rows.ids[start:stop]
            inputs = model.backbone.get_input_embeddings()(ids.to(model.device))
            with torch.autocast(model.device.type, torch.bfloat16, enabled=mixed):
                hidden = model.run_backbone(inputs).to("cpu", torch.bfloat16)
            found |= {i: hidden[place, : rows.frames[i]] for place, i in enumerate(batch)}
            done += sum(rows.frames[i] for i in batch)
            show(done / total)
    return torch.cat([found[index] for index in range(len(rows))])
