"""Fundament: one OpenAI-compatible API for the models an organisation hosts and the models it buys."""

__version__ = "0.1.0"
