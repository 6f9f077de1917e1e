.PHONY: setup format lint types test test-gpu docs smoke ci

setup:
	pip install -e ".[dev]"
	pre-commit install

format:
	ruff check --fix .
	ruff format .

lint:
	ruff check .
	ruff format --check .

types:
	mypy vocalmtp

test:
	pytest -n auto

test-gpu:
	pytest -m gpu

docs:
	mkdocs build --strict

smoke:
	vocalmtp tts "The birch canoe slid on the smooth planks." -o canoe.wav

ci:
	bash .ci/run
