"""Contracts of speech LMs, over backbones, heads, layouts and text modes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.toy_model import BACKBONE
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from vocalmtp.decoding.generate import Prompt, StepUnpacker, generate, unpack
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.heads import HEADS as REGISTERED
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.speech_lm import SpeechLM

HEADS: dict[str, dict[str, Any]] = {
    "linear": {"name": "parallel", "kind": "linear"},
    "mlp": {"name": "parallel", "kind": "mlp"},
    "transformer": {"name": "parallel", "kind": "transformer", "heads": 2},
    "depth": {"name": "depth", "width": 32, "layers": 1, "heads": 2},
    "depth_decoder": {"name": "depth_decoder", "decoder": BACKBONE},
    "patch_decoder": {"name": "patch_decoder", "decoder": BACKBONE},
    "normed": {"name": "normed", "head": {"name": "parallel", "kind": "slot_mlp"}},
}
TRUNK: dict[str, Any] = {  # of another width than the backbone
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
CASES: dict[str, dict[str, Any]] = {
    "llama-track": {},
    "qwen2-prompt": {"backbone": "qwen2", "text": "prompt"},
    "gpt2-both": {"backbone": "gpt2", "text": "both", "frames_per_step": 3},
    "frame-parallel": {"frames_per_step": 1, "speaker_every_step": True},
    "trunk-prompt": {"trunk": TRUNK, "text": "prompt", "backbone": "qwen2"},
    "trunk-both": {"trunk": TRUNK | {"model_type": "gpt2"}, "text": "both"},
    "trunk-grouped": {
        "trunk": TRUNK,
        "text": "prompt",
        "head": HEADS["depth"],
        "frames_per_step": 3,
        "draft": {"name": "sequential", "steps": 2},
    },
    "flat-track": {"flat": True},
    "flat-prompt": {"flat": True, "text": "prompt", "backbone": "gpt2"},
    "depth": {"head": HEADS["depth"], "frames_per_step": 2},
    "depth-decoder": {"head": HEADS["depth_decoder"], "frames_per_step": 2},
    "patches": {
        "head": HEADS["patch_decoder"] | {"delays": [0, 2]},
        "step_encoder": {"encoder": BACKBONE | {"hidden_size": 24}},
        "frames_per_step": 3,
        "end_slots": "text",
        "text": "prompt",
    },
    "trunk-layers": {
        "trunk": TRUNK | {"hidden_size": 32},
        "trunk_layers": {"layers": 1, "heads": 2, "hidden": 48},
        "text": "prompt",
    },
    "norm-in-heads": {
        "backbone_norm": False,
        "head": HEADS["normed"],
        "draft": {"name": "sequential", "steps": 2, "normed": False},
    },
    "all-slots-end": {
        "end_slots": "all",
        "text": "prompt",
        "head": HEADS["linear"],
        "template": "say {text} like {speaker}:{learned} speech",
        "speaker_projection": {"hidden": 8, "activation": "silu", "scaled": False},
    },
    "recursive": {"draft": {"name": "recursive", "steps": 2, "heads": 2}},
    "leap": {
        "draft": {"name": "leap", "steps": 2},
        "objectives": {"top": {}},
        "backbone": "gpt2",
        "flat": True,
    },
}
SAMPLER = Sampler(temperature=1.0, top_k=6)
Make = Callable[..., Any]


def test_every_head_is_covered() -> None:
    assert {config["name"] for config in HEADS.values()} == set(REGISTERED)


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(**CASES[request.param])


def unused(model: SpeechLM) -> set[str]:
    """Parameters that speech does not train: the text vocabulary, and the missing speaker's vector."""
    names = {"speaker_projection.no_speaker", "backbone.lm_head.weight"}
    names |= {name for name, p in model.named_parameters() if not p.requires_grad}
    if model.trunk is not None:
        names |= {name for name, _ in model.named_parameters() if name.startswith("trunk.lm.")}
    if model.config.text == "track" or model.trunk is not None:
        names |= {"backbone.model.embed_tokens.weight", "backbone.transformer.wte.weight"}
    return names


def test_gradient_reaches_all_parameters(model: SpeechLM, make_rows: Make, collate: Make) -> None:
    output = model(collate(model, make_rows(model)))
    assert torch.isfinite(output.loss)
    output.loss.backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= unused(model)


def test_hidden_states_do_not_depend_on_later_positions(
    model: SpeechLM, make_rows: Make, collate: Make
) -> None:
    batch = collate(model, make_rows(model, (7,)))
    cut = batch.kinds.shape[1] - 3
    later = replace(batch, steps=batch.steps.clone())
    later.steps[:, cut:] = 0
    if batch.pointers is not None:
        later = replace(later, pointers=batch.pointers.clone())
        later.pointers[:, cut:] = 0
    one, other = model.hidden_states(batch), model.hidden_states(later)
    torch.testing.assert_close(one[:, :cut], other[:, :cut])
    assert not torch.allclose(one[:, cut:], other[:, cut:])


def test_loss_does_not_depend_on_padding(model: SpeechLM, make_rows: Make, collate: Make) -> None:
    rows = make_rows(model, (7, 3))
    together = model(collate(model, rows))
    alone = [model(collate(model, [row])) for row in rows]
    counts = [(collate(model, [row]).step_targets != IGNORED).sum((0, 1)) for row in rows]
    total = sum(count * one.per_slot for count, one in zip(counts, alone, strict=True))
    torch.testing.assert_close(together.per_slot, total / sum(counts).clamp(min=1))


def test_prefill_does_not_depend_on_padding(
    model: SpeechLM, make_rows: Make, collate: Make
) -> None:
    rows = make_rows(model, (9, 3), spoken=False)
    _, together, _ = model.prefill(collate(model, rows, left=True))
    alone = [model.prefill(collate(model, [row], left=True))[1][:, -1] for row in rows]
    torch.testing.assert_close(together[:, -1], torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_cached_steps_equal_full_forward(model: SpeechLM, make_rows: Make, collate: Make) -> None:
    rows, prompts = make_rows(model, (7,)), make_rows(model, (7,), spoken=False)
    batch = collate(model, rows)
    full = model.hidden_states(batch)
    _, hidden, state = model.prefill(collate(model, prompts, left=True))
    prefix = int(state.cache.lengths)
    torch.testing.assert_close(hidden[:, -1], full[:, prefix - 1], atol=1e-5, rtol=1e-5)
    for place in range(prefix, full.shape[1]):
        hidden = model.step(state, batch.steps[:, place])
        torch.testing.assert_close(hidden, full[:, place], atol=1e-5, rtol=1e-5)


def test_saved_model_loads_bit_for_bit(
    model: SpeechLM, make_rows: Make, collate: Make, tmp_path: Path
) -> None:
    batch = collate(model, make_rows(model))
    model.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    again = SpeechLM.from_pretrained(tmp_path).eval()
    assert again.config.layout == model.config.layout
    for (name, one), (_, other) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name
    assert torch.equal(model(batch).loss, again(batch).loss)
    tied = model.backbone.config.tie_word_embeddings
    embedding = again.backbone.get_input_embeddings().weight
    assert (again.backbone.get_output_embeddings().weight is embedding) == tied


@pytest.mark.parametrize("batch_size", [2, 5])
def test_row_gives_same_speech_in_any_batch(
    model: SpeechLM, make_rows: Make, speak: Make, batch_size: int
) -> None:
    """Also where rows take the places of finished ones."""
    rows = make_rows(model, (9, 3, 6, 12, 4), spoken=False)
    seeds = [3, 4, 5, 6, 7]
    together = speak(model, rows, SAMPLER, seeds, batch_size)
    for row, seed, made in zip(rows, seeds, together, strict=True):
        (alone,) = speak(model, [row], SAMPLER, [seed])
        assert torch.equal(alone.codes, made.codes)
        assert alone.truncated == made.truncated


def test_interleaved_generations_are_independent(model: SpeechLM, make_rows: Make) -> None:
    prompts = [
        Prompt(make_rows(model, (n,), spoken=False, seed=n)[0], SAMPLER, n, 12) for n in (9, 5)
    ]
    apart = [[event.tokens for event in generate(model, [prompt])] for prompt in prompts]
    runs = [generate(model, [prompt]) for prompt in prompts]
    mixed: list[list[torch.Tensor]] = [[], []]
    while runs[0] is not None or runs[1] is not None:
        for which, run in enumerate(runs):
            event = next(run, None) if run is not None else None
            if event is None:
                runs[which] = None
            else:
                mixed[which].append(event.tokens)
        assert not torch.is_inference_mode_enabled()
    for one, other in zip(apart, mixed, strict=True):
        assert torch.equal(torch.stack(one), torch.stack(other))


def test_seed_determines_speech(model: SpeechLM, make_rows: Make) -> None:
    rows = make_rows(model, (9, 9), spoken=False)

    def steps(seeds: list[int]) -> torch.Tensor:
        prompts = [Prompt(row, SAMPLER, seed, 6) for row, seed in zip(rows, seeds, strict=True)]
        return torch.cat([event.tokens for event in generate(model, prompts, 2)])

    assert torch.equal(steps([1, 2]), steps([1, 2]))
    other = steps([3, 4])
    assert other.shape != steps([1, 2]).shape or not torch.equal(steps([1, 2]), other)


@torch.inference_mode()
def test_state_selects_joins_and_rewinds(model: SpeechLM, make_rows: Make, collate: Make) -> None:
    """Rows join, leave and rewind, and have the hidden states that they have alone."""
    rows = make_rows(model, (9, 3, 6), spoken=False)
    sizes = [slot.size for slot in model.layout.slots]
    tokens = [torch.stack([torch.randint(0, n, (3,)) for n in sizes], 1) for _ in range(5)]

    def prefill(rows: list) -> Any:
        return model.prefill(collate(model, rows, left=True))[2]

    alone: list[list[torch.Tensor]] = []
    for b, row in enumerate(rows):
        state = prefill([row])
        alone.append([])
        for step in tokens:
            alone[-1].append(model.step(state, step[b : b + 1]))
    state = prefill(rows[:2])
    for step in tokens[:3]:
        model.step(state, step[:2])
    late = prefill(rows[2:])
    model.step(state, tokens[3][:2])  # rows step back by as many as each likes
    state = state.rewind(torch.tensor([2, 1])).rewind(torch.tensor([0, 1]))
    state = state.join(late).select([2, 0])  # steps 0 and 2 of rows 2 and 0
    for count in range(3):
        hidden = model.step(state, torch.stack([tokens[count][2], tokens[2 + count][0]]))
        want = torch.cat([alone[2][count], alone[0][2 + count]])
        torch.testing.assert_close(hidden, want, atol=1e-5, rtol=1e-5)


def test_streamed_frames_equal_unpacked_frames(model: SpeechLM, make_rows: Make) -> None:
    for seed in range(6):
        (row,) = make_rows(model, (5,), spoken=False, seed=seed)
        steps = [e.tokens[0] for e in generate(model, [Prompt(row, SAMPLER, seed, 20 + seed)])]
        unpacker = StepUnpacker(model.layout)
        parts = [unpacker.push(tokens) for tokens in steps] + [unpacker.flush()]
        streamed = torch.cat(parts, 1)
        if model.track is not None:
            streamed = streamed[1:]
        assert torch.equal(streamed, unpack(torch.stack(steps), model.layout).codes)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "settings",
    [{"text": "track"}, {"text": "prompt"}, {"flat": True}, {"frames_per_step": 1}],
    ids=["track", "prompt", "flat", "frame-parallel"],
)
def test_overfitted_model_speaks_training_data(
    head: str, settings: dict, make_model: Make, make_rows: Make, collate: Make, speak: Make
) -> None:
    """After thirty steps of training, both utterances are generated code for code."""
    model = make_model(head=HEADS[head], **settings)
    rows = make_rows(model, (9, 6))
    batch = collate(model, rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.0)
    model.train()
    for step in range(30):
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-2 * (1 - step / 30)
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    model.eval()
    said = speak(model, make_rows(model, (9, 6), spoken=False), Sampler(greedy=True), [0, 0])
    for row, made in zip(rows, said, strict=True):
        assert not made.truncated
        codes = row[-1].codes[1:] if model.track is not None else row[-1].codes
        assert torch.equal(made.codes, codes)


@pytest.mark.parametrize("backbone", ["llama", "qwen2", "gpt2"])
def test_pretrained_backbone_keeps_its_weights(
    backbone: str, make_model: Make, make_rows: Make, collate: Make, tmp_path: Path
) -> None:
    made = make_model(backbone=backbone, text="prompt")
    made.backbone.save_pretrained(tmp_path / "backbone")
    model = SpeechLM.from_backbone(str(tmp_path / "backbone"), made.config).eval()
    want = AutoModelForCausalLM.from_pretrained(tmp_path / "backbone").state_dict()
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(weight, want[name])
    model.save_pretrained(tmp_path / "model")
    again = SpeechLM.from_pretrained(tmp_path / "model").eval()
    batch = collate(model, make_rows(model))
    assert torch.equal(model(batch).loss, again(batch).loss)


def test_text_loss_is_weighted(make_model: Make, make_rows: Make, collate: Make) -> None:
    model = make_model(text="prompt", text_loss_weight=0.5)
    rows = make_rows(model)
    silent = model(collate(model, rows))
    assert silent.text_loss is None
    supervised = [[type(row[0])(row[0].ids, supervised=True), *row[1:]] for row in rows]
    heard = model(collate(model, supervised))
    torch.testing.assert_close(heard.loss, silent.loss + 0.5 * heard.text_loss)


def test_dropout_applies_in_training_only(make_model: Make, make_rows: Make, collate: Make) -> None:
    model = make_model(step_dropout=0.5, speaker_dropout=0.5)
    batch = collate(model, make_rows(model))
    assert torch.equal(model(batch).loss, model(batch).loss)
    model.train()
    assert not torch.equal(model(batch).loss, model(batch).loss)


def test_missing_speaker_has_its_own_vector(
    make_model: Make, make_rows: Make, collate: Make
) -> None:
    model = make_model()
    batch = collate(model, make_rows(model))
    nobody = replace(batch, has_speaker=torch.zeros_like(batch.has_speaker))
    assert not torch.equal(model(batch).loss, model(nobody).loss)
    changed = replace(nobody, speaker=batch.speaker + 1)
    assert torch.equal(model(nobody).loss, model(changed).loss)


def test_model_saved_under_former_names_loads(
    make_model: Make, make_rows: Make, collate: Make, tmp_path: Path
) -> None:
    model = make_model(audio_input={"width": 16, "layers": 1, "end_id": 9})
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["listen"] = config.pop("audio_input")
    (tmp_path / "config.json").write_text(json.dumps(config))
    former = {
        "audio_encoder.character_output.": "hearing.letters.",
        "audio_encoder.": "hearing.",
        "control_tokens.": "markers.",
        "speaker_projection.no_speaker": "speaker.nobody",
        "speaker_projection.": "speaker.",
        ".frame_proj.": ".order.",
    }
    weights = load_file(tmp_path / "model.safetensors")
    for new, old in former.items():
        weights = {name.replace(new, old): weight for name, weight in weights.items()}
    assert not weights.keys() <= model.state_dict().keys()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    again = SpeechLM.load(tmp_path)
    batch = collate(model, make_rows(model))
    assert torch.equal(model(batch).loss, again(batch).loss)
    again.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == model.state_dict().keys()
    model.load_state_dict(weights)


def test_deep_model_without_speaker_vectors_has_bounded_gradients(
    make_model: Make, make_rows: Make, collate: Make
) -> None:
    """A zero vector at a speaker position would make them explode."""
    model = make_model(backbone="qwen2", speaker_dim=0, num_hidden_layers=12)
    model(collate(model, make_rows(model))).loss.backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert torch.stack(norms).norm() < 20
