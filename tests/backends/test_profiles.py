"""Each family of server can be chosen, and what is said of it is said in one place."""

import typing

import pytest

from fundament import settings
from fundament.backends.body import KNOWN
from fundament.backends.profiles import PROFILES

FAMILIES = sorted(name for name, profile in PROFILES.items() if not profile.own)


def test_the_configuration_offers_the_profiles_that_exist() -> None:
    assert sorted(typing.get_args(settings.Profile)) == FAMILIES


@pytest.mark.parametrize("name", FAMILIES)
def test_a_profile_names_parameters_that_openai_has(name: str) -> None:
    profile = PROFILES[name]
    assert not profile.refused or profile.refused.keys() == KNOWN.keys()
    for kind, refused in profile.refused.items():
        assert refused <= KNOWN[kind]
    for kind, defaults in profile.defaults.items():
        assert defaults.keys() <= KNOWN[kind]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_wording_with_numbers_has_both_and_is_about_the_context(name: str) -> None:
    for wording in PROFILES[name].wordings:
        assert set(wording.pattern.groupindex) in (set(), {"limit", "length"})
        assert not wording.pattern.groupindex or wording.code == "context_length_exceeded"
