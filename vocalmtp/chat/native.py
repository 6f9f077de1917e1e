"""One speech LM that hears the user's turns, writes the answers and says them."""

import numpy as np

from vocalmtp.chat.answer import AnswerSink, Turn
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.vad import SAMPLE_RATE
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.recognizers.base import BufferedRecognizerStream, RecognizerStream
from vocalmtp.text import normalize

NAME = "native"
NOTHING = "Sorry, I did not hear that."
MARKS = " .,;:?!'-"


class SpeechLMResponder(CascadeResponder):
    """An `Answerer` that hears the codes of a turn, and a typed one as it is written.

    It is an `Ear` as well: what it hears is shown, and then read with the codes when it answers. It
    answers the last turn; what was said before it does not know.
    """

    hears = True

    def __init__(self, respondent: DialogueModel, name: str = NAME):
        self._respondent, self._tts = respondent, respondent.tts
        self.name = name

    # -- as an ear -----------------------------------------------------------------------------

    def listen(self) -> RecognizerStream:
        return BufferedRecognizerStream(self._transcribe)

    def _transcribe(self, samples: np.ndarray) -> str:
        respondent = self._respondent
        return respondent.transcribe([respondent.hear(samples, SAMPLE_RATE)])[0]

    # -- as one who answers --------------------------------------------------------------------

    def count_tokens(self, text: str) -> int:
        return len(self._respondent.tts.read_text(normalize(text)))

    def answer(self, turn: Turn, out: AnswerSink) -> None:
        asked = self._asked(turn)
        if not asked.text.strip(MARKS):
            out.failure("Nothing was understood.")
            self.say(NOTHING, turn, out)
            return
        self._say(self._respondent.write(asked), turn, out, self._respondent.context(asked))

    def _asked(self, turn: Turn) -> Query:
        heard, text = None, turn.messages[-1].text
        if turn.samples is not None:
            heard = self._respondent.hear(turn.samples, SAMPLE_RATE)
            text = text or self._respondent.transcribe([heard])[0]
        return Query(text=text, heard=heard, voice=turn.voice)
