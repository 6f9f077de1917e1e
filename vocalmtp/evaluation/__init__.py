"""Measuring what the models say: intelligibility, similarity, quality, speed, disentanglement.

Every module imports its judges (the packages of the extra `eval`) when they are first used, so
importing `vocalmtp.evaluation` costs nothing.
"""
