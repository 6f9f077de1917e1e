"""The routes that take recordings: transcription, and voices of clients."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse

from vocalmtp.audio.io import FFMPEG_SUFFIXES, Word, read_audio
from vocalmtp.audio.timestamps import format_timestamps
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import SAMPLE_RATE, Recognizer
from vocalmtp.server.service import SpeechService
from vocalmtp.text import normalize

TranscriptFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
