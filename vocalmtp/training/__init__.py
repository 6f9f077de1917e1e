"""Training of speech LMs, text LMs, speech tokenizers and the aligner, from recipes."""
