"""The demo's people and cameras: accounts named after their roles, valid in demo mode only (DESIGN, "Outer faces")."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import registers
from engine import clock, identity
from engine.models import Department, User
from engine.settings import Settings

PASSWORD = "diaoqu-demo-2026"
"""One password for all demo accounts; printed by `make demo`."""

QUALIFICATION = "footage_retrieval"
RECORDER = "nvr-1"

# key, Chinese name, English name, key of the parent, head
DEPARTMENTS = (
    ("company", "公司", "Company", None, "member1"),
    ("production", "生产部", "Production", "company", "head"),
    ("monitoring", "监控管理部", "Monitoring", "company", "archivist"),
    ("legal", "法务部", "Legal", "company", "member2"),
    ("personnel", "人事部", "Personnel", "company", "member3"),
    ("audit", "审计部", "Audit", "company", "auditor"),
)

# username, Chinese name, English name, department, title, groups, trained
PEOPLE = (
    ("applicant", "李申请", "Li (applicant)", "production", "班组长", "", False),
    ("head", "王主管", "Wang (head)", "production", "部门经理", "", False),
    ("reviewer", "赵审核", "Zhao (reviewer)", "monitoring", "审核员", "reviewer", True),
    ("operator", "钱调取", "Qian (operator)", "monitoring", "调取员", "operator", True),
    ("archivist", "孙档案", "Sun (archivist)", "monitoring", "档案管理员", "archivist", True),
    ("member1", "周委员", "Zhou (member, chair)", "company", "主任委员", "committee chair", False),
    ("member2", "吴委员", "Wu (member)", "legal", "委员", "committee", False),
    ("member3", "郑委员", "Zheng (member)", "personnel", "委员", "committee", False),
    ("owner", "冯流程", "Feng (process owner)", "monitoring", "流程负责人", "owner", False),
    ("auditor", "陈审计", "Chen (auditor)", "audit", "审计员", "auditor", False),
    ("admin", "褚管理", "Chu (administrator)", "monitoring", "管理员", "admin", False),
)

# key (and recording token), Chinese name, English name, Chinese place, English place
CAMERAS = (
    ("gate", "1号 东大门", "1 East gate", "厂区东门", "East entrance"),
    ("lobby", "2号 大厅", "2 Lobby", "办公楼一层", "Office building, ground floor"),
    ("garage", "3号 车库", "3 Garage", "地下车库", "Underground garage"),
    ("counter", "4号 收银台", "4 Counter", "员工食堂", "Canteen"),
)


def people(session: Session) -> None:
    """Departments, accounts and training records, once."""
    if session.scalar(select(User.id).limit(1)) is not None:
        return
    departments: dict[str, Department] = {}
    for key, name, name_en, parent, head in DEPARTMENTS:
        departments[key] = Department(
            key=key, name=name, name_en=name_en, head_username=head, parent=departments.get(parent or "")
        )
        session.add(departments[key])
    session.flush()
    now = clock.now()
    for number, (username, name, name_en, department, title, groups, trained) in enumerate(PEOPLE, start=1):
        identity.create_user(
            session,
            username,
            name=name,
            name_en=name_en,
            password=PASSWORD,
            groups={"employee", *groups.split()},
            department=departments[department],
            title=title,
            employee_no=f"D{number:04}",
            phone=f"+861380000{number:04}",
        )
        if trained:
            identity.record_training(
                session,
                username,
                QUALIFICATION,
                valid_from=now - timedelta(days=30),
                valid_until=now + timedelta(days=335),
                trainer="监控管理部",
                score=95,
            )


def cameras(session: Session, settings: Settings, *, url: str, username: str, password: str) -> None:
    """The simulated recorder at its present address, and its four cameras."""
    facts: dict[str, Any] = {"name": "1号录像机", "url": url, "username": username, "password": password}
    facts["site"] = settings.site
    present = [recorder for recorder in registers.all_recorders(session) if recorder.key == RECORDER]
    if present:
        registers.change_recorder(session, settings, present[0], sessions=1, retention_days=30, **facts)
        return
    registers.add_recorder(session, settings, RECORDER, **facts)
    for key, name, name_en, place, place_en in CAMERAS:
        registers.add_camera(
            session, key, name=name, name_en=name_en, place=place, place_en=place_en, recorder=RECORDER, recording=key
        )
