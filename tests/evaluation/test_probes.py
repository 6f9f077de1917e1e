"""Probes of a tokenizer's streams."""

import pytest
import torch

from vocalmtp.evaluation import probes
from vocalmtp.evaluation.probes import PROBES, gather, probe, probe_streams
from vocalmtp.evaluation.sentences import pick_items


@pytest.mark.parametrize("hidden", PROBES.values(), ids=PROBES)
def test_probe_finds_labels_in_the_codes_and_no_others(hidden, monkeypatch):
    monkeypatch.setattr(probes, "PROBE_STEPS", 150)
    codes = torch.randint(0, 8, (2000, 2))
    train = torch.arange(2000) % 3 != 0
    predicted = probe(codes, codes[:, 1] % 4, train, 4, hidden).argmax(-1)
    guess = torch.randint(0, 4, (2000,))
    noise = probe(codes, guess, train, 4, hidden).argmax(-1)
    assert (predicted == codes[:, 1] % 4)[~train].float().mean() > 0.99
    assert (noise == guess)[~train].float().mean() < 0.35
    value = probe(codes, codes[:, 0].float(), train, None, hidden)
    assert torch.corrcoef(torch.stack([value, codes[:, 0].float()]))[0, 1] > 0.99


def test_probes_are_scored_on_unseen_sentences(tts, manifest, monkeypatch):
    monkeypatch.setattr(probes, "PROBE_STEPS", 20)
    rows = pick_items(manifest, None)
    frames = gather(tts.tokenizer, rows)
    held = {rows[int(u)].text for u in torch.unique(frames.utterances[frames.held])}
    seen = {rows[int(u)].text for u in torch.unique(frames.utterances[~frames.held])}
    assert held and seen and not held & seen
    found = {(m.name, m.system): m.estimate for m in probe_streams(tts.tokenizer, rows)}
    for kind in PROBES:
        for system in ("content", "prosody", "chance"):
            share = found[f"phone accuracy, {kind} probe", system]
            assert 0 <= share.low <= share.value <= share.high <= 1
        assert -1 <= found[f"F0 correlation, {kind} probe", "prosody"].value <= 1
