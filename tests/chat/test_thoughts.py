"""Thoughts of language models in a conversation: never spoken, shown on request, cut short."""

import pytest
from helpers.chat_fakes import ThinkingLLM, error_codes, until
from helpers.llm_process import llm_server, server_log
from helpers.toy_thinking_model import QUESTIONS, save_toy_thinking_model

from vocalmtp.chat.openai_chat import OpenAIChat
from vocalmtp.chat.responders import FILLERS
from vocalmtp.chat.transformers_chat import TransformersChat
from vocalmtp.cli.chat import EventPrinter
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.text.thinking import parse_reply

SHORT, LONG = QUESTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_toy_thinking_model(tmp_path_factory.mktemp("toy"), draft=True)


@pytest.fixture(scope="module")
def url(folder):
    with llm_server(folder) as address:
        yield address


def thoughts(events: list) -> list[str]:
    return [event.text for event in events if event.kind == "thinking"]


def answer(events: list) -> str:
    """The text of an answer, all of which was spoken."""
    assert not error_codes(events)
    (text,) = (event.text for event in events if event.kind == "finished")
    words = [w for e in events if e.kind == "audio_chunk" for w in e.words]
    assert [text[slice(*word.span)] for word in words] == text.split()
    return text


@pytest.mark.parametrize("show", [False, True])
@pytest.mark.parametrize("question", QUESTIONS)
def test_only_the_answer_of_a_model_that_decides_is_spoken(make_session, folder, question, show):
    session = make_session(TransformersChat(folder), system="", show_thoughts=show)
    session.ask(question)
    events = until(session, "finished")
    expected = QUESTIONS[question]
    assert answer(events).strip() == expected.answer
    shown = thoughts(events)
    if show:
        assert "".join(shown).split() == f"{expected.judge} {expected.thoughts}".split()
    else:
        assert shown == [""]
    kinds = [event.kind for event in events]
    assert kinds.index("thinking") < kinds.index("text_delta")


def test_a_local_model_answers_when_its_thoughts_are_cut_short(make_session, folder):
    llm = TransformersChat(folder)
    session = make_session(llm, system="", think_seconds=0.0, show_thoughts=True)
    session.ask(LONG)
    events = until(session, "finished")
    assert answer(events) and len("".join(thoughts(events)).split()) < 3


def test_a_local_model_answers_when_its_thoughts_take_all_tokens(make_session, folder):
    session = make_session(TransformersChat(folder, max_tokens=12), system="")
    session.ask(LONG)
    assert answer(until(session, "finished"))


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "Six."), (None, "Yes.")])
@pytest.mark.parametrize(
    "tags", [("<think>", "</think>"), ("<judge>a</judge><think_on><think>", "</think><answer>")]
)
def test_thoughts_of_both_kinds_are_cut_short(make_session, tags, seconds, expected):
    llm = ThinkingLLM(tags[0], "Hm. ", 0.01, "Well.", tags[1], "Yes.")
    session = make_session(llm, think_seconds=seconds)
    session.ask("Is it?")
    events = until(session, "finished")
    assert answer(events) == expected and thoughts(events) == [""]


def test_a_filler_is_spoken_while_the_model_thinks(make_session):
    llm = ThinkingLLM("<think>Hm.", 1.0, "</think>Yes.")
    session = make_session(llm, filler=0.1)
    session.ask("Is it?")
    events = until(session, "finished")
    kinds = [event.kind for event in events]
    assert kinds.index("thinking") < kinds.index("audio_chunk") < kinds.index("text_delta")
    assert events[-1].text == "Yes." and "Yes." not in FILLERS


def test_an_endpoint_is_asked_for_its_answer(make_session, url):
    session = make_session(OpenAIChat(url, "thinking"), think_seconds=0.1)
    session.ask("How is it?")
    assert answer(until(session, "finished")) == "All is well."
    request = server_log(url)["requests"][-1]
    *_, question, beginning = request["messages"]
    assert request["continue_final_message"] and not request["add_generation_prompt"]
    assert question["content"] == "How is it?" and beginning["role"] == "assistant"
    assert beginning["content"].startswith("<judge>many steps</judge><think_on><think>on and ")
    assert beginning["content"].endswith("</think>\n\n<answer>\n")


def test_thoughts_in_a_field_of_their_own_are_not_spoken(make_session, url):
    session = make_session(OpenAIChat(url, "reasons"), show_thoughts=True)
    session.ask("How is it?")
    events = until(session, "finished")
    assert answer(events) == "All is well." and "".join(thoughts(events)) == "Hm. Well.\n"


def test_the_terminal_shows_thoughts_on_a_line_of_their_own(make_session, capsys):
    for show, out, err in (
        (True, "thoughts: Hm. \nanswer: Yes.\n", ""),
        (False, "answer: Yes.\n", "thinking"),
    ):
        session = make_session(ThinkingLLM("<think>Hm.", "</think>Yes."), show_thoughts=show)
        session.ask("Is it?")
        printer = EventPrinter()
        for event in until(session, "finished"):
            printer(event)
        written = capsys.readouterr()
        assert written.out.endswith(out) and err in written.err


@pytest.mark.parametrize("question", QUESTIONS)
def test_drafts_do_not_change_the_decision(folder, question):
    generator = TextGenerator.load(folder)
    texts = []
    for strategy in (None, Speculative(2)):
        request = GenerationRequest(text=question)
        ((_, made),) = generator.generate(
            [request], Sampler(greedy=True), max_tokens=60, strategy=strategy
        )
        texts.append(generator.tokenizer.decode(made.ids))
    assert texts[0] == texts[1]
    assert parse_reply(texts[0]) == QUESTIONS[question]
    assert strategy.statistics.summary()["tokens_per_forward"] > 1.2
