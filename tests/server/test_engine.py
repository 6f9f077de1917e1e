"""The engine: requests in one batch do not affect each other, and leave it when they are cancelled."""

import asyncio
import threading
from itertools import islice
from queue import SimpleQueue

import numpy as np
import pytest
from helpers.toy_model import save_toy_model
from helpers.waiting import wait_until

from vocalmtp.audio.io import Audio, join
from vocalmtp.decoding.generate import Prompt, RunningBatch, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.loading import load
from vocalmtp.server.engine import EngineTTS, SpeechEngine
from vocalmtp.server.schedule import Overloaded, SynthesisFailed
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

TEXTS = ("Oh.", "One. Two!", "The birch canoe.")


@pytest.fixture
def engine(mini: TTS):
    engine = SpeechEngine(mini, rows=3, queue=100)
    yield engine
    engine.close()


def plan(tts: TTS, text: str, seed: int = 0, voice: str | None = None, **sampling):
    return tts.plan(SynthesisRequest(text=text, seed=seed, voice=voice, sampling=sampling))


def samples(chunks) -> np.ndarray:
    return join(list(chunks)).samples


def test_concurrent_requests_equal_the_stream_of_each_alone(engine: SpeechEngine):
    served, alone = EngineTTS(engine), engine.tts
    requests = [
        (text, voice, seed, temperature)
        for seed, temperature in ((0, None), (7, 1.5))
        for voice in ("heart", "daniel")
        for text in TEXTS
    ]
    found: dict[int, np.ndarray] = {}

    def run(number: int, text: str, voice: str, seed: int, temperature: float | None) -> None:
        found[number] = samples(served.stream(text, voice, seed, temperature=temperature))

    threads = [threading.Thread(target=run, args=(n, *r)) for n, r in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (text, voice, seed, temperature) in enumerate(requests):
        expected = samples(alone.stream(text, voice, seed, temperature=temperature))
        assert np.array_equal(found[number], expected), requests[number]
    assert engine.active == 0


@pytest.mark.parametrize("abandon", ["close", "cancel"])
def test_abandoned_request_leaves_the_batch_and_others_go_on(engine: SpeechEngine, abandon: str):
    sentences = plan(engine.tts, "One two three. " * 30)
    if abandon == "close":
        chunks = engine.stream(sentences)
        next(chunks)
        chunks.close()
    else:
        items: SimpleQueue = SimpleQueue()
        job = engine.submit(sentences, items.put)
        items.get()
        engine.cancel(job)
        engine.cancel(job)  # again: without effect
    assert engine.active == 0
    expected = samples(engine.tts.stream("Oh."))
    assert np.array_equal(samples(engine.stream(plan(engine.tts, "Oh."))), expected)


def test_client_that_takes_no_audio_is_not_synthesized_further(engine, monkeypatch):
    monkeypatch.setattr("vocalmtp.server.schedule.MAX_AHEAD", 0.1)
    text = "One two. " * 4
    sentences = plan(engine.tts, text)
    items: SimpleQueue = SimpleQueue()
    job = engine.submit(sentences, items.put)
    wait_until(lambda: job.parked)
    assert job.number == 1  # of four sentences, one was made
    engine.cancel(job)
    assert np.array_equal(samples(engine.stream(sentences)), samples(engine.tts.stream(text)))


def test_requests_beyond_the_queue_are_refused(tts: TTS):
    engine = SpeechEngine(tts, rows=1, queue=1)
    try:
        sentences = plan(tts, "One two three. " * 20)
        jobs = [engine.submit(sentences, lambda _: None) for _ in range(2)]
        with pytest.raises(Overloaded) as refused:
            engine.submit(sentences, lambda _: None)
        assert refused.value.retry_after >= 1
        engine.cancel(jobs[0])
        engine.submit(sentences, lambda _: None)
    finally:
        engine.close()


def test_failing_prompt_fails_its_request_only(engine: SpeechEngine, monkeypatch):
    prompt = TTS.prompt

    def fail(self, sentence) -> Prompt:
        if sentence.text.startswith("fail"):
            raise RuntimeError("the model broke")
        return prompt(self, sentence)

    monkeypatch.setattr(TTS, "prompt", fail)
    with pytest.raises(SynthesisFailed):
        list(engine.stream(plan(engine.tts, "Fail here.")))
    assert samples(engine.stream(plan(engine.tts, "Oh."))).size


def test_failing_step_fails_its_requests_and_the_engine_goes_on(engine, monkeypatch):
    step = RunningBatch.step

    def fail(self):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(RunningBatch, "step", fail)
    with pytest.raises(SynthesisFailed):
        list(engine.stream(plan(engine.tts, "Oh.")))
    monkeypatch.setattr(RunningBatch, "step", step)
    assert samples(engine.stream(plan(engine.tts, "Oh."))).size


def test_closing_fails_open_requests(tts: TTS):
    engine = SpeechEngine(tts, rows=1)
    items: SimpleQueue = SimpleQueue()
    engine.submit(plan(tts, "One two three. " * 100), items.put)
    assert isinstance(items.get(), Audio)
    engine.close()
    while isinstance(item := items.get(), Audio):
        pass
    assert isinstance(item, SynthesisFailed)
    with pytest.raises(SynthesisFailed):
        engine.submit(plan(tts, "One."), items.put)


def test_async_stream_equals_the_stream(engine: SpeechEngine):
    async def collect() -> list[Audio]:
        return [chunk async for chunk in engine.stream_async(plan(engine.tts, TEXTS[1]))]

    assert np.array_equal(samples(asyncio.run(collect())), samples(engine.tts.stream(TEXTS[1])))


def test_model_whose_tokenizer_cannot_stream(tmp_path, monkeypatch):
    tts = load(save_toy_model(tmp_path / "toy"))
    spec = tts.tokenizer.spec.model_copy(update={"lookahead": None})
    monkeypatch.setattr(tts.tokenizer, "spec", spec)
    monkeypatch.setattr(Voice, "check", lambda voice, spec: voice)  # the hash is another one
    engine = SpeechEngine(tts)
    try:
        made = list(engine.stream(plan(tts, "One. Two!")))
        assert np.array_equal(samples(made), samples(tts.stream("One. Two!")))
    finally:
        engine.close()


def test_rows_that_are_removed_yield_no_event(make_model, make_rows):
    model = make_model()
    rows = make_rows(model, (9, 7, 8), spoken=False)
    prompts = [Prompt(row, Sampler(), seed, 12) for seed, row in enumerate(rows)]
    alone = {
        number: [event.tokens[0] for event in generate(model, [prompt])]
        for number, prompt in enumerate(prompts)
    }
    batch = RunningBatch(model)
    batch.add({0: prompts[0], 1: prompts[1]})
    found: dict[int, list] = {0: [], 1: [], 2: []}

    def step() -> None:
        for event in batch.step():
            for number, tokens in zip(event.rows, event.tokens, strict=True):
                found[number].append(tokens)

    for _ in islice(iter(int, 1), 2):
        step()
    batch.remove([0, 5])
    batch.add({2: prompts[2]})
    while batch.rows:
        step()
    assert len(found[0]) == 2
    for number in (1, 2):
        assert len(found[number]) == len(alone[number])
        assert all((a == b).all() for a, b in zip(found[number], alone[number], strict=True))
