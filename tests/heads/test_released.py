"""Modules of released code, written out by hand or by the classes that the releases use."""

import pytest
import torch
from helpers.errors import raises_input_error
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from vocalmtp.decoding.draft_state import DraftOnly
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.heads import build_head
from vocalmtp.models.embeddings import SpeakerProjection, SpeakerProjectionConfig
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.prompts import Speaker, Text, opening, tts_prompt
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.streams import Stream

LAYOUT = TokenLayout(
    streams=(Stream(name="a", size=8), Stream(name="c", size=5)),
    frames_per_step=2,
    end_slots="all",
)
PROMPT_MODEL = {"text": "prompt", "head": {"name": "parallel", "kind": "linear"}}


def test_slot_mlp_is_the_released_mlp() -> None:
    """SLM-Decoupled-MTP: Linear(H, 2 H), SiLU, Linear(2 H, V) of every head."""
    head = build_head({"name": "parallel", "kind": "slot_mlp"}, LAYOUT, 6, {})
    hidden = torch.randn(2, 3, 6)
    for k, logits in enumerate(head.logits(hidden)):
        up, out = head.maps.up[k], head.projection.free[str(k)]
        assert (up.in_features, up.out_features, out.in_features) == (6, 12, 12)
        released = nn.Sequential(up, nn.SiLU(), out)
        torch.testing.assert_close(released(hidden), logits)


def test_speaker_projection_of_the_release() -> None:
    config = SpeakerProjectionConfig(hidden=1024, activation="silu", scaled=False)
    ours = SpeakerProjection(256, 32, 0.0, config)
    vector = F.normalize(torch.randn(2, 256), dim=-1)
    first, _, last = ours.projection
    assert first.weight.shape == (1024, 256)
    expected = F.linear(F.silu(F.linear(vector, first.weight, first.bias)), last.weight, last.bias)
    torch.testing.assert_close(ours(vector, torch.tensor([True, True])), expected)


def released_chain(model: SpeechLM, hidden: torch.Tensor) -> list[torch.Tensor]:
    """VocalNet's modules by the classes that its release uses: logits [B, L, V] of each.

    A module is fed with what the module before put out, before any norm; what its output layer reads
    is normed.
    """
    width, heads = model.width, model.draft.config.heads
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=model.draft.config.hidden,
        num_attention_heads=heads,
        rms_norm_eps=1e-6,
        attn_implementation="eager",
    )
    length = hidden.shape[1]
    places = LlamaRotaryEmbedding(config)(hidden, torch.arange(length)[None])
    mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
    found = []
    for block, head in zip(model.draft.layers, model.draft.heads, strict=True):
        layer, norm = LlamaDecoderLayer(config, 0), LlamaRMSNorm(width, 1e-6)
        q, k, v = block.qkv.weight.chunk(3)
        gate, up = block.gate_up.weight.chunk(2)
        layer.load_state_dict(
            {
                "self_attn.q_proj.weight": q,
                "self_attn.k_proj.weight": k,
                "self_attn.v_proj.weight": v,
                "self_attn.o_proj.weight": block.out.weight,
                "mlp.gate_proj.weight": gate,
                "mlp.up_proj.weight": up,
                "mlp.down_proj.weight": block.down.weight,
                "input_layernorm.weight": block.attention_norm.weight,
                "post_attention_layernorm.weight": block.feed_norm.weight,
            }
        )
        norm.weight = head.norm.weight
        hidden = layer(hidden, attention_mask=mask, position_embeddings=places)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        found.append(head.head.projection.free["0"](norm(hidden)))
    return found


def test_sequential_modules_are_chained_before_the_norm(make_model) -> None:
    settings = {
        "streams": [{"name": "unit", "size": 8}],
        "frames_per_step": 1,
        "text": "prompt",
        "head": {"name": "normed", "head": {"name": "parallel", "kind": "linear"}},
        "draft": {"name": "sequential", "steps": 3, "heads": 2, "hidden": 48, "epsilon": 1e-6}
        | {"normed": False},
    }
    model = make_model(**settings, backbone_norm=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 2)
    inputs = torch.randn(1, 9, model.width)
    hidden = model.run_backbone(inputs)
    layers = make_model(**settings).backbone.base_model  # whose last norm is there
    layers.load_state_dict(model.backbone.base_model.state_dict(), strict=False)
    layers.norm.weight = model.head.norm.weight
    normed = layers(inputs_embeds=inputs).last_hidden_state
    torch.testing.assert_close(model.head.norm(hidden), normed)
    states = model.draft.states(hidden, inputs, 3)
    for n, expected in enumerate(released_chain(model, hidden)):
        (logits,) = model.draft.head_of(n, model.head).logits(states[n])
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_every_slot_learns_the_end() -> None:
    codes = torch.randint(5, (1, 2, 3))  # the second step has one frame
    tokens = LAYOUT.pack(codes).tokens[0]
    assert tokens[-1].tolist() == [8, 5, 8, 5] and tokens[-2, 2:].tolist() == [9, 6]
    assert LAYOUT.targets(tokens).ne(IGNORED).all()
    back, lengths = LAYOUT.unpack(tokens[None])
    assert torch.equal(back, codes) and lengths.tolist() == [3]
    first = TokenLayout(streams=LAYOUT.streams, frames_per_step=2)
    assert first.targets(first.pack(codes).tokens[0])[-1].tolist() == [8, *[IGNORED] * 3]


@pytest.mark.parametrize("voting", range(4))
def test_any_slot_ends_the_speech(make_model, make_rows, voting: int) -> None:
    model = make_model(end_slots="all", **PROMPT_MODEL)
    slot = model.layout.slots[voting]
    layer = model.head.projection.free[str(voting)]
    with torch.no_grad():
        layer.bias[slot.end_id] = 1e4
    (row,) = make_rows(model, (5,), spoken=False)
    events = list(generate(model, [Prompt(row, Sampler(greedy=True), max_steps=6)]))
    assert len(events) == 2  # never in the first step
    pads = [one.pad_id for one in model.layout.slots[1:]]
    assert events[-1].tokens[0].tolist() == [model.layout.slots[0].end_id, *pads]
    ((_, spoken),) = collect_utterances(iter(events), model.layout)
    assert spoken.codes.shape[1] == 2 and not spoken.truncated


def test_template_frames_text_and_speaker() -> None:
    template = "Read: {text}. Like: {speaker}.\n[A]:{learned} The speech is: "
    before = opening(template, "Hi", lambda text: [*text.encode()])
    texts = [bytes(s.ids).decode() if isinstance(s, Text) else s for s in before]
    assert texts == ["Read: Hi. Like: ", Speaker(None), ".\n[A]:", " The speech is: "]
    assert [s.supervised for s in before if isinstance(s, Text)] == [False, False, True]


def test_learned_text_of_a_template_has_a_loss(make_model, collate) -> None:
    model = make_model(template="ab{text}{learned}ba", **PROMPT_MODEL)
    before = opening(model.config.template, "cc", lambda text: [ord(c) - 90 for c in text])
    batch = collate(model, [tts_prompt("prompt", before=before, codes=torch.zeros(2, 3).long())])
    assert batch.ids[0, :6].tolist() == [7, 8, 9, 9, 8, 7]
    assert batch.text_targets[0, :6].tolist() == [IGNORED] * 3 + [8, 7, IGNORED]
    assert model(batch).text_loss > 0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"end_slots": "all", "text": "track"}, "end_slots"),
        ({"end_slots": "all", "text": "prompt", "head": {"name": "depth"}}, "end_slots"),
        ({"backbone_norm": False, "text": "prompt", "template": "{text}{learned}a"}, None),
    ],
)
def test_settings_that_exclude_each_other(make_model, settings, key) -> None:
    with raises_input_error("conflict", key=key or "backbone_norm"):
        make_model(**settings)


def test_drafts_do_not_go_with_votes(make_model, make_rows) -> None:
    model = make_model(
        end_slots="all", draft={"name": "leap", "steps": 1, "stride": 1}, **PROMPT_MODEL
    )
    (row,) = make_rows(model, (5,), spoken=False)
    with raises_input_error("unsupported", key="drafts"):
        list(generate(model, [Prompt(row, Sampler())], strategy=DraftOnly(1)))
