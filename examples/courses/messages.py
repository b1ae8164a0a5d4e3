"""The messages about courses and students."""

from typing import Annotated

from pydantic import Field

from dualbus import Command, Event, Query, Tag, Text

CAPACITY_MAX = 1000
COURSES_MAX = 5  # per student

Capacity = Annotated[int, Field(ge=1, le=CAPACITY_MAX)]


class RegisterStudent(Command):
    name: Text


class DefineCourse(Command):
    code: Text
    title: Text
    capacity: Capacity


class ChangeCapacity(Command):
    course_id: Text
    capacity: Capacity


class JoinCourse(Command):
    student_id: Text
    course_id: Text


class LeaveCourse(Command):
    student_id: Text
    course_id: Text


class StudentRegistered(Event):
    id: Annotated[str, Tag("student")]
    name: str


class CourseDefined(Event):
    id: Annotated[str, Tag("course")]
    code: Annotated[str, Tag("code")]  # for the check that a code is unique
    title: str
    capacity: int


class CapacityChanged(Event):
    id: Annotated[str, Tag("course")]
    capacity: int


class StudentJoined(Event):
    """An event in the histories of both the student and the course."""

    student: Annotated[str, Tag("student")]
    course: Annotated[str, Tag("course")]


class StudentLeft(Event):
    student: Annotated[str, Tag("student")]
    course: Annotated[str, Tag("course")]


class GetCourse(Query):
    course_id: Text


class ListCourses(Query):
    """A page of courses in the order of their codes: `after` is the last code of the previous page."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: str = ""


class GetStudent(Query):
    student_id: Text
