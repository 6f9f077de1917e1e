"""Ablations: a grid of tokenizers, tokens per step, backbones, arms and seeds, and one report.

grid.py and cells.py read a YAML file into cells, each with a training recipe; plan.py estimates
their cost; train.py and evaluate.py do the work of one, run.py of all; report.py and plots.py
write the report.
"""
