"""Corpora, lists of texts, code shards and training rows."""
