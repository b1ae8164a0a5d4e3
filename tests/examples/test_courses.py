"""The courses: each rule on values, and then all of them against many clients at once."""

import pytest

from dualbus import Event, Rejected
from dualbus.testing import answer, decide
from examples.courses import app
from examples.courses.messages import (
    COURSES_MAX,
    CapacityChanged,
    ChangeCapacity,
    CourseDefined,
    DefineCourse,
    GetCourse,
    GetStudent,
    JoinCourse,
    LeaveCourse,
    ListCourses,
    RegisterStudent,
    StudentJoined,
    StudentLeft,
    StudentRegistered,
)
from tests.raw import RawClient, command, query

ADA = StudentRegistered(id="ada", name="Ada")
BOB = StudentRegistered(id="bob", name="Bob")
MATHS = CourseDefined(id="maths", code="M-1", title="Mathematics", capacity=1)


def joined(student: str, course: str) -> StudentJoined:
    return StudentJoined(student=student, course=course)


def full_of_courses(student: str) -> list[Event]:
    """Return what makes a student take part in as many courses as there may be."""
    return [joined(student, f"course {number}") for number in range(COURSES_MAX)]


def test_a_student_is_registered() -> None:
    events = decide(app, when=RegisterStudent(name="Ada"), ids=["ada"])
    assert events == [ADA]


def test_a_course_code_is_given_once() -> None:
    when = DefineCourse(code="M-1", title="Mathematics", capacity=1)
    assert decide(app, when=when, ids=["maths"]) == [MATHS]
    with pytest.raises(Rejected, match="Course code M-1 is already taken"):
        decide(app, given=[MATHS], when=when)


def test_a_student_joins_a_course_that_has_room() -> None:
    when = JoinCourse(student_id="ada", course_id="maths")
    assert decide(app, given=[ADA, MATHS], when=when) == [joined("ada", "maths")]


@pytest.mark.parametrize(
    ("given", "sentences"),
    [
        ([MATHS], ["Student does not exist"]),
        ([ADA], ["Course does not exist"]),
        ([ADA, MATHS, joined("ada", "maths")], ["Student is already in this course"]),
        ([ADA, BOB, MATHS, joined("bob", "maths")], ["Course is full"]),
        ([ADA, MATHS, *full_of_courses("ada")], ["Student is already in 5 courses"]),
        (
            [ADA, BOB, MATHS, joined("bob", "maths"), *full_of_courses("ada")],
            ["Student is already in 5 courses", "Course is full"],
        ),
    ],
)
def test_a_student_does_not_join_against_the_rules(given: list[Event], sentences: list[str]) -> None:
    with pytest.raises(Rejected) as refused:
        decide(app, given=given, when=JoinCourse(student_id="ada", course_id="maths"))
    assert refused.value.errors == sentences


def test_a_place_that_was_left_or_added_can_be_taken() -> None:
    full = [MATHS, joined("bob", "maths")]
    left = StudentLeft(student="bob", course="maths")
    larger = CapacityChanged(id="maths", capacity=2)
    when = JoinCourse(student_id="ada", course_id="maths")
    assert decide(app, given=[joined("bob", "maths")], when=LeaveCourse(student_id="bob", course_id="maths")) == [
        left
    ]
    assert decide(app, given=[ADA, *full, left], when=when) == [joined("ada", "maths")]
    assert decide(app, given=[ADA, *full, larger], when=when) == [joined("ada", "maths")]
    with pytest.raises(Rejected, match="Student is not in this course"):
        decide(app, given=full, when=LeaveCourse(student_id="ada", course_id="maths"))


def test_a_capacity_changes_but_not_below_those_who_have_joined() -> None:
    given = [MATHS, CapacityChanged(id="maths", capacity=3), joined("ada", "maths"), joined("bob", "maths")]
    changed = [CapacityChanged(id="maths", capacity=2)]
    assert decide(app, given=given, when=ChangeCapacity(course_id="maths", capacity=2)) == changed
    assert decide(app, given=given, when=ChangeCapacity(course_id="maths", capacity=3)) == []
    with pytest.raises(Rejected, match="2 students have joined"):
        decide(app, given=given, when=ChangeCapacity(course_id="maths", capacity=1))
    with pytest.raises(Rejected, match="Course does not exist"):
        decide(app, when=ChangeCapacity(course_id="maths", capacity=1))


def test_queries_show_who_is_where() -> None:
    left = StudentLeft(student="bob", course="maths")
    larger = CapacityChanged(id="maths", capacity=9)
    given = [ADA, BOB, MATHS, larger, joined("ada", "maths"), joined("bob", "maths"), left]
    course = {"id": "maths", "code": "M-1", "title": "Mathematics", "capacity": 9, "joined": 1}
    assert answer(app, given=given, when=GetCourse(course_id="maths")) == {
        **course,
        "students": [{"id": "ada", "name": "Ada"}],
    }
    assert answer(app, given=given, when=ListCourses())["items"] == [course]
    assert answer(app, given=given, when=ListCourses(after="M-1")) == {"items": [], "next": None}
    assert answer(app, given=given, when=GetStudent(student_id="ada")) == {
        "id": "ada",
        "name": "Ada",
        "courses": [{"id": "maths", "code": "M-1", "title": "Mathematics"}],
    }
    assert answer(app, given=given, when=GetStudent(student_id="eve")) is None
    assert answer(app, given=given, when=GetCourse(course_id="art")) is None


@pytest.fixture
def dualbus_app() -> str:
    return "examples.courses:app"


def test_both_rules_hold_while_everybody_wants_everything_at_once(clients: list[RawClient]) -> None:
    # Given 8 courses of 6 places, 12 students, and three clients
    define = [command("DefineCourse", code=f"C-{n}", title=f"Course {n}", capacity=6) for n in range(8)]
    register = [command("RegisterStudent", name=f"Student {n}") for n in range(12)]
    made = clients[0].ask(*define, *register)
    ids = [one["events"][0]["payload"]["id"] for one in made]
    courses, students = ids[:8], ids[8:]

    # When each client has every student join every course, while capacities change and codes are taken again
    joins = [
        command("JoinCourse", student_id=student, course_id=course) for student in students for course in courses
    ]
    changes = [command("ChangeCapacity", course_id=course, capacity=5) for course in courses]
    for number, client in enumerate(clients):
        wanted = [*joins[number * 32 :], *joins[: number * 32], *changes, *define]
        client.send(*[{**one, "body": {**one["body"], "msg_id": n}} for n, one in enumerate(wanted, start=1000)])
    replies = [client.wait_for(range(1000, 1000 + len(wanted))) for client in clients]

    # Then both rules refused some, each place was taken once, and neither rule was ever broken
    events = [event for answers in replies for one in answers for event in one["body"].get("events", [])]
    errors = {error for answers in replies for one in answers for error in one["body"].get("errors", [])}
    assert {"Course is full", "Student is already in 5 courses"} <= errors
    taken = [event["payload"] for event in events if event["type"] == "StudentJoined"]
    assert len({(one["student"], one["course"]) for one in taken}) == len(taken)
    assert all(event["type"] != "CourseDefined" for event in events)
    found = clients[0].ask(*[query("GetCourse", course_id=course) for course in courses])
    found += clients[0].ask(*[query("GetStudent", student_id=student) for student in students])
    of_course = [one["data"]["joined"] for one in found[:8]]
    of_student = [len(one["data"]["courses"]) for one in found[8:]]
    assert sum(of_course) == sum(of_student) == len(taken)
    assert max(of_course) <= 6
    assert max(of_student) <= COURSES_MAX
