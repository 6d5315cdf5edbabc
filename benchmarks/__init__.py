"""Measures Fundament side by side with nginx and LiteLLM, and its gateway with its own engine, in one run.

It knows the product only from outside: its commands, its HTTP API and the files in its data directory.
"""


class UnmeasurableError(Exception):
    """The run cannot give a figure: something could not be installed, did not start, or answered wrongly."""
