"""Evaluation of models and tokenizers: intelligibility, speaker similarity, quality, benchmarks.

Natural speech of the same sentences is always measured beside synthesized speech. Judges (packages
of the extra `eval`) are imported when they are first used.
"""
