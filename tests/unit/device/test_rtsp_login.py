"""Digest authentication: the published examples, the choice among challenges, and nothing in clear."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.digest import Challenge, DigestLogin

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
OWN = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def offer(algorithm: str) -> str:
    return (
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        f'nonce="{NONCE}", opaque="{OPAQUE}"'
    )


def answer(algorithm: str) -> str:
    challenge = Challenge.strongest([offer(algorithm)])
    assert challenge is not None
    return DigestLogin(challenge, "Mufasa", "Circle of Life").header("GET", "/dir/index.html", nonce=OWN)


def test_the_examples_of_rfc_7616_come_out() -> None:
    sha256 = answer("SHA-256")
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in sha256
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in answer("MD5")
    assert f'opaque="{OPAQUE}"' in sha256


def test_the_example_of_rfc_2069_comes_out() -> None:
    """Without qop, as old recorders ask (with the corrected response of the RFC's erratum)."""
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
    header = DigestLogin(challenge, "Mufasa", "CircleOfLife").header("GET", "/dir/index.html")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in header
    assert "qop" not in header
    assert "algorithm" not in header


def test_the_stronger_challenge_is_chosen_in_any_order() -> None:
    for offers in ([offer("MD5"), offer("SHA-256")], [offer("SHA-256"), offer("MD5"), 'Basic realm="x"']):
        found = Challenge.strongest(offers)
        assert found is not None
        assert found.algorithm == "SHA-256"


def test_challenges_that_nobody_understands_are_none() -> None:
    assert Challenge.strongest(['Basic realm="x"', offer("SHA-512-256"), "Digest", 'Digest realm="no nonce"']) is None


@pytest.mark.parametrize("filling", ["a", "a=", "a ", 'a="', '"', "=", ","])
def test_a_challenge_that_was_made_to_take_long_is_none(filling: str) -> None:
    """A field name of four thousand letters once took a second, and a header holds many challenges."""
    assert Challenge.strongest(["Digest " + filling * 30_000] * 50) is None


@settings(deadline=None)
@given(st.text(max_size=300))
def test_no_challenge_breaks_the_reading_or_smuggles_a_line(text: str) -> None:
    found = Challenge.strongest([f'Digest {text}, realm="r", nonce="n", algorithm=MD5', 'Digest nonce="n"'])
    assert found is not None
    header = DigestLogin(found, "user", "secret").header("PLAY", "rtsp://h/x")
    assert "\r" not in header
    assert "\n" not in header


def test_a_user_name_cannot_break_out_of_its_header() -> None:
    header = DigestLogin(Challenge("r", "n"), 'a"b\r\nX-Evil: 1', "p").header("PLAY", "rtsp://host/x")
    assert "\r" not in header
    assert "\n" not in header
    assert r"a\"bX-Evil: 1" in header


def test_the_nonce_count_rises_with_each_request() -> None:
    login = DigestLogin(Challenge("r", "n", qop=True), "u", "p")
    assert "nc=00000001" in login.header("OPTIONS", "rtsp://host/x")
    assert "nc=00000002" in login.header("DESCRIBE", "rtsp://host/x")
