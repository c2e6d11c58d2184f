"""A database with the people of the procedure, and one process instance whose case is open."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import cases
from device.models import Case
from engine import history, identity
from engine.columns import Base
from engine.db import Database
from engine.models import Department, DeployedFile, Deployment, Instance, ProcessDefinition, User
from engine.settings import Settings

NOW = datetime(2026, 2, 10, 2, 0, tzinfo=UTC)
INSTANCE = UUID("11111111-2222-5333-8444-555555555555")


@dataclass(frozen=True)
class People:
    """Departments `sales` (applicant, head, member1) and `office` (everybody else); `boss` heads the company."""

    session: Session

    def __getitem__(self, username: str) -> User:
        return self.session.scalars(select(User).where(User.username == username)).one()


def settings_in(folder: Path) -> Settings:
    """A working folder, a database and two stores below `folder`."""
    return Settings(
        data=folder / "data",
        database_url=f"sqlite:///{folder / 'data' / 'diaoqu.db'}",
        store_primary=(folder / "primary").as_uri(),
        store_backup=(folder / "backup").as_uri(),
        secret_key="a long random text for the tests only",
    )


@contextmanager
def database_in(settings: Settings) -> Iterator[Database]:
    """A new database with the people and the process instance of this module."""
    database = Database.of(settings)
    Base.metadata.create_all(database.writer)
    with database.transaction() as session:
        populate(session)
    yield database
    database.dispose()


def open_case(session: Session, instance_id: UUID = INSTANCE) -> Case:
    applicant = session.scalars(select(User).where(User.username == "applicant")).one()
    return cases.open_case(
        session,
        instance_id,
        applicant=applicant.username,
        department_id=applicant.department_id,
        at=NOW,
        overwritten_at=None,
    )


def add_instance(session: Session, instance_id: UUID) -> Instance:
    definition = session.scalars(select(ProcessDefinition)).one()
    instance = Instance(
        id=instance_id,
        definition_id=definition.id,
        process_id=definition.process_id,
        version=definition.version,
        state="running",
        started_by="applicant",
        started_at=NOW,
        changed_at=NOW,
        seq=0,
        head=history.GENESIS,
        data={},
    )
    session.add(instance)
    session.flush()
    return instance


def populate(session: Session) -> None:
    company = Department(key="company", name="公司", name_en="Company", head_username="boss")
    sales = Department(key="sales", name="销售部", name_en="Sales", head_username="head", parent=company)
    office = Department(key="office", name="行政部", name_en="Office", head_username="officer", parent=company)
    session.add_all([company, sales, office])
    session.flush()
    roles = {
        "applicant": (sales, "张三", ["employee"]),
        "head": (sales, "李四", ["employee"]),
        "member1": (sales, "王五", ["employee", "committee"]),
        "member2": (office, "赵六", ["employee", "committee"]),
        "member3": (office, "孙七", ["employee", "committee", "chair"]),
        "officer": (office, "周八", ["employee"]),
        "reviewer": (office, "吴九", ["employee", "reviewer"]),
        "operator": (office, "郑十", ["employee", "operator"]),
        "archivist": (office, "钱一", ["employee", "archivist"]),
        "boss": (company, "冯二", ["employee"]),
    }
    template = identity.create_user(session, "template", "password of nobody", name="模板")
    for username, (department, name, groups) in roles.items():
        identity_of = User(
            username=username,
            name=name,
            password_hash=template.password_hash,  # hashing takes its time on purpose; nobody signs in here
            department=department,
            title="职员",
            employee_no=f"E-{username}",
            phone="010-5550100",
            created_at=NOW,
            memberships=[identity.Membership(group=group) for group in groups],
        )
        session.add(identity_of)
    session.delete(template)
    files = {
        "footage_retrieval.bpmn": '<definitions><process id="footage_retrieval"/></definitions>\n',
        "committee_votes.dmn": "<definitions/>\n",
        "forms/application.form": '{"components": []}\n',
    }
    deployment = Deployment(deployed_at=NOW, deployed_by="owner", note="first")
    deployment.files = [DeployedFile(name=name, content=text, digest="") for name, text in files.items()]
    session.add(deployment)
    session.flush()
    session.add(
        ProcessDefinition(
            process_id="footage_retrieval",
            version=1,
            name="录像调取",
            file="footage_retrieval.bpmn",
            digest="",
            deployment_id=deployment.id,
        )
    )
    session.flush()
    add_instance(session, INSTANCE)
