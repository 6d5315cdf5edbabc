"""Plans in the configuration: the four that are there, those of the file, and what is refused."""

from pathlib import Path

import pytest

from fundament.config import load, settings
from fundament.errors import ConfigError
from fundament.settings import DEFAULT_PLANS, LimitConfig, PlanConfig

MODEL = '[[models]]\nid = "a"\nsource = "a.gguf"\naliases = ["b"]\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "fundament.toml"
    file.write_text(MODEL + text, encoding="utf-8")
    return file


def test_without_plans_in_the_file_there_are_the_four(tmp_path: Path) -> None:
    plans = load(write(tmp_path, ""), {}).config.plans
    assert plans == DEFAULT_PLANS
    limits = {name: [(limit.rpm, limit.input_tpm, limit.output_tpm) for limit in plans[name].limits] for name in plans}
    assert limits == {
        "essential": [(300, 300_000, 150_000)],
        "professional": [(600, 600_000, 300_000)],
        "agentic": [(1000, 2_000_000, 1_000_000)],
        "unlimited": [],
    }


def test_a_plan_of_the_file_stands_beside_the_four_or_takes_the_place_of_one(tmp_path: Path) -> None:
    file = write(tmp_path, "[plans.small-team]\nmodels = ['a']\n[[plans.essential.limits]]\nmodel = 'a'\nrpm = 1_000")
    loaded = load(file, {})
    assert loaded.config.plans == {
        **DEFAULT_PLANS,
        "small-team": PlanConfig(models=("a",)),
        "essential": PlanConfig(limits=(LimitConfig(model="a", rpm=1000),)),
    }
    assert loaded.origins["plans.essential.limits[0].rpm"] == "fundament.toml"
    assert loaded.origins["plans.professional.limits[0].rpm"] == "default"
    assert loaded.origins.keys() == settings(loaded.config).keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[plans.ok]\n[[plans.small-team.limits]]\nrpm = 0",
            "plans.small-team.limits[0].rpm: expected an integer >= 1",
        ),
        ("[[plans.t.limits]]\nrmp = 1", "plans.t.limits[0].rmp: unknown setting; did you mean 'rpm'?"),
        ("[plans.t]\nlimit = 1", "plans.t.limit: unknown setting; did you mean 'limits'?"),
        ("[plans.t]\nmodels = 'a'", "plans.t.models: expected a list, got 'a'"),
        ("plans.t = 3", "plans.t: expected a table, got 3"),
        ("plans = 3", "plans: expected a table for each plan, [plans.NAME], its name of 1 to 50 of a-z, 0-9, _ and -"),
        ("[[plans]]\nrpm = 3", "plans: expected a table for each plan, [plans.NAME], its name of 1 to 50 of a-z"),
        ("[plans.'A b']", "plans: expected a table for each plan, [plans.NAME], its name of 1 to 50 of a-z"),
        ("[plans.t]\nmodels = ['a', 'c']", "plans.t.models[1]: no model has the id 'c'"),
        ("[plans.t]\nmodels = ['b']", "plans.t.models[0]: no model has the id 'b'"),
        ("[[plans.t.limits]]\nmodel = 'c'", "plans.t.limits[0].model: no model has the id 'c'"),
        ("[[plans.t.limits]]\n[[plans.t.limits]]\nrpm = 3", "plans.t.limits[1].model: '*' has limits above"),
    ],
)
def test_a_bad_plan_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "fundament.toml"
    file.write_text(f"{text}\n{MODEL}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("(from fundament.toml)")


def test_plans_are_not_set_by_variables(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, ""), {"FUNDAMENT_PLANS_ESSENTIAL": "x"})
    assert str(caught.value) == (
        "FUNDAMENT_PLANS_ESSENTIAL: plans are set in the configuration file, not by environment variables"
    )
