"""Spoken conversations with interruptible answers, for any source of audio: `ChatSession`."""
