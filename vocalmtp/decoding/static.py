"""Passes over a fixed number of rows, which are executed again as they are: static shapes.

A batch has room for a number of rows, positions, characters and noise. Its tensors stay where they
are; a program runs one pass over the first b rows and P positions, for a few sizes of b and P, and
leaves the new values in the same tensors. So a program can be a CUDA graph, and the host waits once
per pass: for its output.
Letters: B rows, R rows of room, P positions, C columns of an output.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from vocalmtp.decoding.draft_state import DraftState
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.state_tensors import (
    first_rows,
    map_tensors,
    named_tensors,
    row_axis,
    write_back,
)
from vocalmtp.decoding.stepper import PassOutput
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.engines.cache import AlignedCache
from vocalmtp.engines.graphs import Programs, Run
from vocalmtp.models.base import GenerativeModel
from vocalmtp.models.noise import RowNoise
from vocalmtp.models.state import DecodeState

ROWS = (1, 2, 4, 8, 16, 32, 64)  # sizes of b; beyond, whole multiples of the last
LEAST_POSITIONS = 128  # of P, which doubles from there
GROWING = (
    "encoded_text",
    "text_alone",
    "pointer_history",
    "noise.values",
)  # longer for some rows: dimension 1


def row_bucket(rows: int) -> int:
    """Round a number of rows up to one that there are programs for."""
    return next((size for size in ROWS if rows <= size), -(-rows // ROWS[-1]) * ROWS[-1])


def position_bucket(positions: int) -> int:
    """Round a number of positions up to one that there are programs for."""
    return max(LEAST_POSITIONS, 1 << (positions - 1).bit_length())


@dataclass
class Program:
    """A pass over the first rows of a batch."""

    run: Run
    output: Tensor  # [B, C] of the last execution, packed
    like: PassOutput  # shapes of what is packed


@dataclass
class Row:
    """One row of a batch."""

    slot: int  # its number among the R
    positions: int  # in the cache
    sampler: Sampler


class StaticBatch:
    """Tensors with room for R rows, and the programs that run passes over the first of them.

    Args:
        model: the model.
        strategy: what a pass yields.
        programs: how passes are executed.
        fresh: the first rows; the tensors are like theirs.

    """

    def __init__(
        self,
        model: GenerativeModel,
        strategy: DecodeStrategy,
        programs: Programs,
        fresh: DecodeState,
    ):
        self.model, self.strategy, self.programs = model, strategy, programs
        self.rows: list[Row] = []
        self.compiled: dict[tuple[Any, ...], Program] = {}
        self.noise_per_pass = self._measure_noise(fresh)
        counted = strategy.statistics
        self.margin = 2 + counted.drafts + counted.nodes  # positions that a pass may write ahead
        self._allocate(fresh, self._needed(fresh))

    def _measure_noise(self, fresh: DecodeState) -> int:
        """Run a pass over a copy of rows that are not greedy, and count the numbers that it takes."""
        trial, rows = map_tensors(fresh, lambda name, value: value.clone()), len(fresh.steps)
        trial.noise = RowNoise.seeded(fresh.steps, [0] * rows)
        trial.samplers = RowSamplers(fresh.steps, [Sampler()] * rows)
        before, _ = trial.noise.most, self._pass(trial)
        return trial.noise.most - before

    def _pass(self, state: DecodeState) -> PassOutput:
        emitted = self.strategy.emit(self.model, state)
        output = PassOutput.of(emitted, self.model.layout, state)
        self.strategy.forward(self.model, state, emitted)
        return replace(output, num_steps=state.steps, positions=state.cache.lengths)

    # -- room ----------------------------------------------------------------------------------

    def _needed(self, fresh: DecodeState) -> dict[str, int]:
        """Sizes of the dimensions that grow, for the longest that `fresh` rows may become."""
        assert fresh.noise is not None
        steps = fresh.most_steps + self.margin
        fresh.noise.reserve(fresh.noise.most + (steps + 1) * self.noise_per_pass)
        sizes = {"key_values": position_bucket(fresh.cache.longest + steps)}
        for name, value in named_tensors(fresh).items():
            if name in GROWING:
                sizes[name] = position_bucket(max(value.shape[1], 1))
        if "pointer_history" in sizes:
            sizes["pointer_history"] = position_bucket(fresh.history_steps + steps + 1)
        return sizes

    def _allocate(self, like: DecodeState, sizes: dict[str, int], rows: int = 0) -> None:
        """Make tensors of zeros with room for these sizes, and for `rows` or those of `like`."""
        self.sizes = sizes
        self.room = row_bucket(max(rows, len(like.steps)))

        def empty(name: str, value: Tensor) -> Tensor:
            shape = list(value.shape)
            shape[row_axis(name)] = self.room
            if row_axis(name):
                shape[2] = sizes["key_values"]
            elif name in sizes:
                shape[1] = sizes[name]
            return torch.zeros(shape, dtype=value.dtype, device=value.device)

        self.state: DecodeState = map_tensors(like, empty)
        self.alive = torch.zeros(self.room, dtype=torch.bool, device=like.steps.device)
        self.compiled.clear()

    def _grow(self, fresh: DecodeState) -> None:
        """Make room for `fresh` rows if there is none; programs have to be captured again then."""
        needed, rows = self._needed(fresh), len(self.rows) + len(fresh.steps)
        sizes = {name: max(size, self.sizes[name]) for name, size in needed.items()}
        recorded = self.state.seen is not None
        self.state.match_record(fresh)
        if rows <= self.room and sizes == self.sizes and recorded == (self.state.seen is not None):
            return
        before, alive = self.state, self.alive
        self._allocate(before, sizes, rows)
        places = torch.arange(len(alive), device=alive.device)
        self._write(before, places)
        self.alive[: len(alive)] = alive

    # -- rows ----------------------------------------------------------------------------------

    def add(self, fresh: DecodeState) -> list[Row]:
        """Add rows; `fresh` is not used afterwards."""
        assert isinstance(fresh.samplers, RowSamplers)
        self._grow(fresh)
        taken = {row.slot for row in self.rows}
        slots = [slot for slot in range(self.room) if slot not in taken][: len(fresh.steps)]
        samplers = [fresh.samplers.kinds[number] for number in fresh.samplers.numbers]
        added = [
            Row(slot, fresh.cache.longest, own) for slot, own in zip(slots, samplers, strict=True)
        ]
        self.rows += added
        places = torch.tensor(slots, device=self.alive.device)
        self._write(fresh, places)
        self.alive[places] = True
        self._set_samplers()
        return added

    def _write(self, source: DecodeState, places: Tensor) -> None:
        """Write all rows of `source` to the places [B]; what they do not fill stays."""
        values = named_tensors(source)
        for name, target in named_tensors(self.state).items():
            value = values[name]
            if row_axis(name):
                target[:, places, : value.shape[2]] = value[:, :, : target.shape[2]]
            elif name in GROWING:
                target[places, : value.shape[1]] = value[:, : target.shape[1]]
            else:
                target[places] = value

    def keep(self, rows: list[Row]) -> None:
        """Remove all other rows, and move rows together where fewer programs' rows are enough."""
        self.rows = rows
        count = row_bucket(len(rows)) if rows else 0
        free = sorted(set(range(count)) - {row.slot for row in rows})
        moved = [row for row in rows if row.slot >= count]
        if moved:
            target = torch.tensor(free[: len(moved)], device=self.alive.device)
            source = torch.tensor([row.slot for row in moved], device=self.alive.device)
            for name, value in named_tensors(self.state).items():
                if row_axis(name):
                    value[:, target] = value[:, source]
                else:
                    value[target] = value[source]
            for row, slot in zip(moved, free, strict=False):
                row.slot = slot
        self._park()

    def _park(self) -> None:
        """Set what counts something to 0 in rows that are not used: they index nothing outside."""
        used = {row.slot for row in self.rows}
        alive = torch.tensor([slot in used for slot in range(self.room)], device=self.alive.device)
        self.alive.copy_(alive)
        for value in named_tensors(self.state).values():
            if value.dim() == 1 and value.dtype == torch.long:
                value.mul_(alive)
        self._set_samplers()

    def _set_samplers(self) -> None:
        """Number the samplers of all rows that are used."""
        assert self.state.samplers is not None
        samplers = self.state.samplers
        samplers.kinds = tuple(dict.fromkeys(row.sampler for row in self.rows))
        numbers = [0] * self.room
        for row in self.rows:
            numbers[row.slot] = samplers.kinds.index(row.sampler)
        samplers.index.copy_(torch.tensor(numbers, device=samplers.index.device))

    # -- passes --------------------------------------------------------------------------------

    def launch(self) -> Program:
        """Start a pass over all rows."""
        assert self.state.samplers is not None
        rows = row_bucket(1 + max(row.slot for row in self.rows))
        longest = max(row.positions for row in self.rows) + self.margin
        positions = min(position_bucket(longest), self.sizes["key_values"])
        key = (rows, positions, self.state.samplers.kinds)
        if key not in self.compiled:
            with self._untimed():
                self.compiled[key] = self._compile(rows, positions)
        program = self.compiled[key]
        program.run()
        return program

    @contextmanager
    def _untimed(self) -> Iterator[None]:
        """Keep what happens in the block out of the times of parts."""
        seconds = dict(self.strategy.statistics.seconds)
        yield
        self.strategy.statistics.seconds = seconds

    def _compile(self, rows: int, positions: int) -> Program:
        """Make the program for the first rows and positions."""
        view: DecodeState = map_tensors(
            self.state, lambda name, value: first_rows(name, value, rows, positions)
        )
        assert view.noise is not None and isinstance(view.cache, AlignedCache)
        view.history_steps, view.cache.fixed = 0, True
        view.noise.most = 0  # the numbers of all passes are there
        if isinstance(view.draft, DraftState) and view.draft.cache.past is not None:
            view.draft.cache.past.fixed = True
        like = self._pass(map_tensors(view, lambda name, value: value.clone()))
        output, alive = torch.zeros_like(like.pack()), self.alive[:rows]

        def run() -> None:
            state: DecodeState = map_tensors(view, lambda name, value: value)
            made = self._pass(state)
            write_back(state, view, alive)
            output.copy_(made.pack())

        return Program(self.programs.capture(run), output, like)


def runs_ahead(model: GenerativeModel) -> bool:
    """Whether a pass that was started runs while the host goes on."""
    return model.device.type == "cuda"


class StaticStepper:
    """Runs a strategy over rows that join and leave, by programs (see Stepper)."""

    def __init__(self, model: GenerativeModel, strategy: DecodeStrategy, programs: Programs):
        self.model, self.strategy, self.programs = model, strategy, programs
        settings = [getattr(strategy, f.name) for f in fields(strategy) if f.name != "statistics"]  # type: ignore[arg-type]
        parts = (model.head, model.drafting_head, model.draft)
        self.key = (*map(id, parts), model.layout, type(strategy), *settings)
        self.batch: StaticBatch | None = None
        self.rows: list[Row] = []
        self.fresh: list[DecodeState] = []
        self.pending: tuple[Program, dict[int, int]] | None = None  # slots of its rows by id

    def add(self, fresh: DecodeState) -> None:
        """Append rows, after their prompts."""
        self.fresh.append(fresh)

    def next(self) -> PassOutput:
        """Run a pass over all rows; return its output on the CPU."""
        for fresh in self.fresh:
            if self.batch is None:
                self._open(fresh)
            assert self.batch is not None
            self.rows += self.batch.add(fresh)
        self.fresh = []
        assert self.batch is not None
        with self.strategy.statistics.timed("passes"):
            if self.pending is None:
                self._launch()
            output = self._read()
        for row, positions in zip(self.rows, output.positions.tolist(), strict=True):
            row.positions = max(row.positions, positions)
        going = len(self.rows) - int(output.finished.any(1).sum())
        if output.drafts is None:
            self.strategy.statistics.count_passes(going)
        else:
            self.strategy.statistics.count_drafts(output.drafts)
        if going == len(self.rows) and runs_ahead(self.model):
            self._launch()  # the device goes on while the host uses the output
        return output

    def _open(self, fresh: DecodeState) -> None:
        """Take a batch that is not in use, or make one."""
        self.batch = self.programs.acquire(self.key)
        if self.batch is None:
            self.batch = StaticBatch(self.model, self.strategy, self.programs, fresh)
        else:
            self.batch.keep([])
        self._release = weakref.finalize(self, self.programs.release, self.key, self.batch)

    def _launch(self) -> None:
        assert self.batch is not None
        self.pending = self.batch.launch(), {id(row): row.slot for row in self.rows}

    def _read(self) -> PassOutput:
        """Wait for the pass that runs; rows that it does not have yield no step."""
        assert self.pending is not None
        (program, slots), self.pending = self.pending, None
        packed = program.output.to("cpu", copy=True)
        places = [slots.get(id(row), -1) for row in self.rows]
        output = program.like.unpack(packed[places])
        late = torch.tensor(places) < 0
        if bool(late.any()):
            output.counts[late], output.finished[late], output.positions[late] = 0, False, 0
            if output.drafts is not None:
                output.drafts.tried[late] = False
        return output

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows, in this order, of those of the last pass."""
        assert self.batch is not None
        self.rows = [self.rows[row] for row in rows]
        if self.rows:
            self.batch.keep(list(self.rows))
            return
        self.batch, self.pending = None, None
        self._release()
