"""Codecs that Transformers implements, with their published weights."""
