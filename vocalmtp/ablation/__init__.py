"""Ablations: a grid of tokenizers, tokens per step, backbones and seeds, and one fair report.

grid.py: one YAML file to cells. plan.py: what they will cost, without running them. tokenizers.py
and cell.py: what is done for one. run.py: all of them, resumed. report.py and plots.py: the report.
"""
