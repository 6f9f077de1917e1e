"""One speech LM that takes the user's turns as audio, writes the answers and speaks them."""

from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.answer import AnswerSink, Turn
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.text import normalize

NAME = "native"
NOTHING = "Sorry, I did not hear that."
MARKS = " .,;:?!'-"


class SpeechLMResponder(CascadeResponder):
    """A responder that reads the audio of a turn with its transcript, or a typed turn.

    It answers the last turn, without the turns before.
    """

    hears = True

    def __init__(self, respondent: DialogueModel, name: str = NAME):
        self._respondent, self._tts = respondent, respondent.tts
        self.name = name

    def count_tokens(self, text: str) -> int:
        return len(self._respondent.tts.encode_text(normalize(text)))

    def answer(self, turn: Turn, out: AnswerSink) -> None:
        asked = self._asked(turn)
        if not asked.text.strip(MARKS):
            out.failure("Nothing was understood.")
            self.say(NOTHING, turn, out)
            return
        self._say(self._respondent.stream_text(asked), turn, out, self._respondent.context(asked))

    def _asked(self, turn: Turn) -> Query:
        heard, text = None, turn.messages[-1].text
        if turn.samples is not None:
            heard = self._respondent.encode_audio(turn.samples, SAMPLE_RATE)
            text = text or self._respondent.transcribe([heard])[0]
        return Query(text=text, audio=heard, voice=turn.voice)
