"""Signing in, deputies, heads, training records and tokens."""

import time
from datetime import timedelta

import pytest

from engine import identity, organisation
from engine.clock import now as present
from engine.db import Database
from engine.errors import ConflictError, InvalidFormError, NotFoundError

PASSWORD = "correct horse battery"


def sign_in(database, username, password):
    with database.transaction() as session:
        return identity.authenticate(session, username, password)


def fail(database, username, times):
    for _ in range(times):
        with pytest.raises(identity.WrongPasswordError):
            sign_in(database, username, "wrong password")


def test_the_right_password_signs_in(database, people, clock):
    people.add("head")
    assert sign_in(database, "head", PASSWORD).username == "head"


@pytest.mark.parametrize("password", ["", "Correct horse battery", "\ud800", "x" * 10_000])
def test_a_wrong_password_is_refused(database, people, clock, password):
    people.add("head")
    with pytest.raises(identity.WrongPasswordError):
        sign_in(database, "head", password)


def test_unknown_wrong_and_closed_accounts_get_the_same_answer(database, people, clock):
    people.add("head")
    people.add("leaver", active=False)
    answers = set()
    for username, password in (("head", "wrong password"), ("nobody", PASSWORD), ("leaver", PASSWORD)):
        with pytest.raises(identity.WrongPasswordError) as refused:
            sign_in(database, username, password)
        answers.add(str(refused.value))
    assert len(answers) == 1


@pytest.mark.parametrize("username", ["", "\ud800", "a\x00b", "x" * 1000, "' OR 1=1 --"])
def test_a_hostile_user_name_is_just_unknown(database, clock, username):
    with pytest.raises(identity.WrongPasswordError):
        sign_in(database, username, PASSWORD)


def test_an_unknown_name_takes_as_long_as_a_wrong_password(database, people, clock):
    people.add("head")

    def seconds(username):
        began = time.perf_counter()
        with pytest.raises(identity.WrongPasswordError), database.reading() as session:
            identity.authenticate(session, username, "wrong password")
        return time.perf_counter() - began

    assert min(seconds("nobody") for _ in range(5)) > min(seconds("head") for _ in range(3)) / 5


def test_five_wrong_passwords_lock_the_account_and_time_unlocks_it(database, people, clock):
    people.add("head")
    fail(database, "head", identity.LOCK_AFTER)
    with pytest.raises(identity.WrongPasswordError):
        sign_in(database, "head", PASSWORD)
    clock.forward(minutes=15)
    assert sign_in(database, "head", PASSWORD).username == "head"


def test_a_right_password_forgets_the_wrong_ones(database, people, clock):
    people.add("head")
    for _ in range(3):
        fail(database, "head", identity.LOCK_AFTER - 1)
        assert sign_in(database, "head", PASSWORD)


def test_failures_are_counted_although_the_caller_rolls_back(database, people, clock):
    people.add("head")
    fail(database, "head", 2)
    with database.reading() as session:
        assert identity.find(session, "head").failed_logins == 2


def test_a_failure_in_a_reading_session_is_counted_too(database, people, clock):
    people.add("head")
    with pytest.raises(identity.WrongPasswordError), database.reading() as session:
        identity.authenticate(session, "head", "wrong password")
    with database.reading() as session:
        assert identity.find(session, "head").failed_logins == 1


def test_a_person_is_created_with_groups_and_an_argon2id_hash(database, clock):
    with database.transaction() as session:
        identity.create_user(session, "ann", PASSWORD, name="安", groups=["employee", "reviewer"])
    with database.reading() as session:
        found = identity.find(session, "ann")
        assert found.groups == {"employee", "reviewer"}
        assert found.password_hash.startswith("$argon2id$")
    assert sign_in(database, "ann", PASSWORD).name == "安"


@pytest.mark.parametrize("username", ["", "a b", "a/b", "x" * 65, "recorder/acquire"])
def test_a_username_with_other_characters_is_refused(database, clock, username):
    with pytest.raises(InvalidFormError), database.transaction() as session:
        identity.create_user(session, username, PASSWORD, name="x")


def test_a_short_password_is_refused(database, clock):
    with pytest.raises(InvalidFormError) as refused, database.transaction() as session:
        identity.create_user(session, "ann", "seven77", name="x")
    assert set(refused.value.fields) == {"password"}


def test_a_taken_username_is_refused(database, people, clock):
    people.add("ann")
    with pytest.raises(ConflictError), database.transaction() as session:
        identity.create_user(session, "ann", PASSWORD, name="x")


def test_members_are_the_active_ones_in_order(database, people, clock):
    people.add("cy", "committee")
    people.add("ann", "committee")
    people.add("bob", "committee", active=False)
    people.add("di", "operator")
    with database.reading() as session:
        assert identity.members(session, "committee") == ["ann", "cy"]


# ---- heads and deputies


@pytest.fixture
def company(people, clock):
    people.add("boss", head_of="company")
    people.add("head", head_of="sales")
    people.add("ann", department="sales")
    people.add("stand_in", department="sales")
    people.department("sales", parent="company")
    return people


def head_of(database, username):
    with database.reading() as session:
        return organisation.around(session, username, at=present()).head()


def delegate(database, username, deputy, clock, hours=8):
    with database.transaction() as session:
        identity.delegate(session, username, deputy, from_at=clock.at, until_at=clock.at + timedelta(hours=hours))


def test_the_head_signs_for_a_member(database, company):
    assert head_of(database, "ann") == "head"


def test_the_superior_signs_for_the_head(database, company):
    assert head_of(database, "head") == "boss"


def test_nobody_signs_for_the_topmost_head(database, company):
    with pytest.raises(NotFoundError):
        head_of(database, "boss")


def test_nobody_signs_for_a_person_without_department(database, people, clock):
    people.add("stray")
    with pytest.raises(NotFoundError):
        head_of(database, "stray")


def test_a_head_with_a_deputy_stays_the_one_whose_signature_it_is(database, company, clock):
    delegate(database, "head", "stand_in", clock)
    assert head_of(database, "ann") == "head"
    with database.reading() as session:
        assert identity.deputies(session, ["head", "boss"], clock.at) == {"head": ["stand_in"]}
        assert identity.deputies(session, ["head"], clock.at + timedelta(hours=8)) == {}


def test_the_superior_signs_where_the_head_has_left(database, company):
    with database.transaction() as session:
        identity.find(session, "head").active = False
    assert head_of(database, "ann") == "boss"


def test_a_deputy_does_not_sign_for_themselves(database, company, clock):
    delegate(database, "head", "ann", clock)
    assert head_of(database, "ann") == "boss"


def test_a_deputy_acts_only_during_the_dates(database, company, clock):
    delegate(database, "head", "stand_in", clock)
    with database.reading() as session:
        assert identity.acting_for(session, "stand_in", clock.at) == {"head"}
        assert identity.acting_for(session, "stand_in", clock.at + timedelta(hours=8)) == set()
        assert identity.acting_for(session, "stand_in", clock.at - timedelta(seconds=1)) == set()


def test_a_deputy_has_the_groups_of_the_absent_person(database, people, clock):
    people.add("reviewer", "reviewer", "employee")
    people.add("stand_in", "employee")
    delegate(database, "reviewer", "stand_in", clock)
    with database.reading() as session:
        authority = identity.authority(session, identity.find(session, "stand_in"), clock.at)
    assert authority.groups == {"stand_in": {"employee"}, "reviewer": {"employee", "reviewer"}}


def test_nobody_is_their_own_deputy(database, company, clock):
    with pytest.raises(InvalidFormError):
        delegate(database, "head", "head", clock)


def test_a_deputy_needs_a_time_that_is_not_empty(database, company, clock):
    with pytest.raises(InvalidFormError):
        delegate(database, "head", "ann", clock, hours=0)


# ---- training and tokens


def test_a_training_record_is_valid_up_to_its_end(database, people, clock):
    people.add("ann")
    with database.transaction() as session:
        until = clock.at + timedelta(days=1)
        identity.record_training(session, "ann", "retrieval", valid_from=clock.at, valid_until=until)
    with database.reading() as session:
        assert identity.qualified(session, "ann", "retrieval", clock.at)
        assert not identity.qualified(session, "ann", "retrieval", until)
        assert not identity.qualified(session, "ann", "other", clock.at)
        assert not identity.qualified(session, "bob", "retrieval", clock.at)


def test_a_token_stands_for_its_person_until_it_expires(database: Database, people, clock):
    people.add("ann")
    with database.transaction() as session:
        ann = identity.find(session, "ann")
        token = identity.issue_token(session, ann, expires_at=clock.at + timedelta(days=1))
    with database.reading() as session:
        assert identity.user_by_token(session, token).username == "ann"
        assert identity.user_by_token(session, token + "x") is None
        assert identity.user_by_token(session, "\ud800") is None
    clock.forward(days=1)
    with database.reading() as session:
        assert identity.user_by_token(session, token) is None


def test_the_token_of_a_closed_account_is_worthless(database, people, clock):
    people.add("ann")
    with database.transaction() as session:
        ann = identity.find(session, "ann")
        token = identity.issue_token(session, ann)
        ann.active = False
    with database.reading() as session:
        assert identity.user_by_token(session, token) is None
