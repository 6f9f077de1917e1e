.PHONY: setup format lint test test-gpu smoke ci

setup:
	pip install -e ".[dev]"
	pre-commit install

format:
	ruff check --fix .
	ruff format .

lint:
	ruff check .
	ruff format --check .

test:
	pytest

test-gpu:
	pytest -m gpu

smoke:
	vocalmtp tts "The birch canoe slid on the smooth planks." -o canoe.wav

ci:
	bash .ci/run
