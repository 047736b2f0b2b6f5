"""Tokens and grants belong to one live session."""

import pytest

from medmtl_app.sessions import Sessions


@pytest.fixture
def alive() -> set[str]:
    return {"one", "two"}


@pytest.fixture
def sessions(alive: set[str]) -> Sessions:
    return Sessions(alive.__contains__)


def test_a_token_stands_for_its_session(sessions: Sessions) -> None:
    one, two = sessions.token("one"), sessions.token("two")
    assert one == sessions.token("one") != two
    assert (sessions.session_of(one), sessions.session_of(two)) == ("one", "two")
    assert [sessions.session_of(token) for token in ("", one[:-1], "é", one + "x")] == [None] * 4


def test_a_token_ends_with_its_session(sessions: Sessions, alive: set[str]) -> None:
    token = sessions.token("one")
    grant = sessions.grant("one", "study")
    alive.remove("one")
    assert sessions.session_of(token) is None
    sessions.token("two")  # a new page clears what is gone
    assert sessions.study_of("one", grant) is None


def test_a_grant_is_worth_nothing_to_another_session(sessions: Sessions) -> None:
    sessions.token("one")
    sessions.token("two")
    grant = sessions.grant("one", "study")
    assert grant == sessions.grant("one", "study") != sessions.grant("one", "other")
    assert sessions.study_of("one", grant) == "study"
    assert sessions.study_of("two", grant) is None
    assert sessions.grant("two", "study") != grant


def test_a_session_knows_who_signed_in() -> None:
    sessions = Sessions(lambda session: True)
    token = sessions.token("one", "Dr A")
    assert (sessions.reader("one"), sessions.reader("other")) == ("Dr A", "")
    assert sessions.token("one", "") == token
    assert sessions.reader("one") == ""
