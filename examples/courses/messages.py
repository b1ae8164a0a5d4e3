"""The messages about courses and students."""

from typing import Annotated, TypedDict

from pydantic import Field

from dualbus import Command, Event, Limit, Page, Query, Tag, Text

CODE = Tag("code")
COURSE = Tag("course")
STUDENT = Tag("student")

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
    id: Annotated[str, STUDENT]
    name: str


class CourseDefined(Event):
    id: Annotated[str, COURSE]
    code: Annotated[str, CODE]  # for the check that a code is unique
    title: str
    capacity: int


class CapacityChanged(Event):
    id: Annotated[str, COURSE]
    capacity: int


class StudentJoined(Event):
    """An event in the histories of both the student and the course."""

    student: Annotated[str, STUDENT]
    course: Annotated[str, COURSE]


class StudentLeft(Event):
    student: Annotated[str, STUDENT]
    course: Annotated[str, COURSE]


class Student(TypedDict):
    id: str
    name: str


class ListedCourse(TypedDict):
    id: str
    code: str
    title: str
    capacity: int
    joined: int


class Course(ListedCourse):
    students: list[Student]


class TakenCourse(TypedDict):
    id: str
    code: str
    title: str


class StudentWithCourses(Student):
    courses: list[TakenCourse]


class GetCourse(Query[Course | None]):
    course_id: Text


class ListCourses(Query[Page[ListedCourse]]):
    """A page of courses in the order of their codes: `after` is `next` of the previous page."""

    limit: Limit = 100
    after: str = ""


class GetStudent(Query[StudentWithCourses | None]):
    student_id: Text
