"""What tests of telemetry share."""

from pathlib import Path

import pytest

from telemetry.counting import Counting


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return Counting(tmp_path)
