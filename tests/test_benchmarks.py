"""Benchmarks that need no other program still run against the code as it is."""

from benchmarks.translation import translation


def test_the_cost_of_translation_can_be_measured() -> None:
    outcome = translation(1)
    assert len(outcome.figures) == 5
    assert all(figure.value > 0 for figure in outcome.figures)
