"""FACodec of NaturalSpeech 3: the blocks, the timbre extractor, the tokenizer."""

from vocalmtp.tokenizers.facodec.tokenizer import FACodec, FACodecConfig

__all__ = ["FACodec", "FACodecConfig"]
