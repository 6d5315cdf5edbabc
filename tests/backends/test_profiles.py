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


def test_openais_own_server_alone_speaks_responses() -> None:
    assert [name for name in FAMILIES if PROFILES[name].speaks_responses] == ["openai"]


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        *[(name, True) for name in ("o1", "o4-mini", "gpt-5", "gpt-5.2-pro", "gpt-10", "codex-mini-latest")],
        *[(name, False) for name in ("gpt-4.1", "gpt-4o", "gpt-35-turbo", "gpt-5-chat-latest", "gpt-3.5", "my-o1")],
    ],
)
def test_models_that_reason_are_known_by_their_names(model: str, reasons: bool) -> None:
    pattern = PROFILES["openai"].reasons
    assert pattern is not None
    assert (pattern.search(model) is not None) == reasons
