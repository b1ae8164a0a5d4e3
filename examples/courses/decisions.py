"""The decisions of the commands. A rule is protected by the histories that its decision reads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from dualbus import Past, Rejected
from examples.courses.messages import (
    CODE,
    COURSE,
    COURSES_MAX,
    STUDENT,
    CapacityChanged,
    ChangeCapacity,
    CourseDefined,
    DefineCourse,
    JoinCourse,
    LeaveCourse,
    RegisterStudent,
    StudentJoined,
    StudentLeft,
    StudentRegistered,
)


@dataclass(frozen=True)
class Course:
    """The state of a course for its rules, folded from the events with the tag course:<id>."""

    exists: bool = False
    capacity: int = 0
    joined: int = 0

    def apply(self, event: CourseDefined | CapacityChanged | StudentJoined | StudentLeft) -> Self:
        match event:
            case CourseDefined(capacity=capacity):
                return replace(self, exists=True, capacity=capacity)
            case CapacityChanged(capacity=capacity):
                return replace(self, capacity=capacity)
            case StudentJoined():
                return replace(self, joined=self.joined + 1)
            case StudentLeft():
                return replace(self, joined=self.joined - 1)


@dataclass(frozen=True)
class Student:
    """The state of a student for the rules, folded from the events with the tag student:<id>."""

    exists: bool = False
    courses: frozenset[str] = frozenset()

    def apply(self, event: StudentRegistered | StudentJoined | StudentLeft) -> Self:
        match event:
            case StudentRegistered():
                return replace(self, exists=True)
            case StudentJoined(course=course):
                return replace(self, courses=self.courses | {course})
            case StudentLeft(course=course):
                return replace(self, courses=self.courses - {course})


def register_student(command: RegisterStudent, past: Past) -> Iterator[StudentRegistered]:
    yield StudentRegistered(id=past.new_id(), name=command.name)


def define_course(command: DefineCourse, past: Past) -> Iterator[CourseDefined]:
    if past.events(CODE(command.code)):
        raise Rejected(f"Course code {command.code} is already taken")
    yield CourseDefined(id=past.new_id(), code=command.code, title=command.title, capacity=command.capacity)


def change_capacity(command: ChangeCapacity, past: Past) -> Iterator[CapacityChanged]:
    course = past.fold(Course, COURSE(command.course_id))
    if not course.exists:
        raise Rejected("Course does not exist")
    if command.capacity < course.joined:
        raise Rejected(f"{course.joined} students have joined: the capacity cannot be less")
    if command.capacity != course.capacity:
        yield CapacityChanged(id=command.course_id, capacity=command.capacity)


def join_course(command: JoinCourse, past: Past) -> Iterator[StudentJoined]:
    """Check rules about two histories. Both are read, so the event is appended only if both rules still hold."""
    student = past.fold(Student, STUDENT(command.student_id))
    course = past.fold(Course, COURSE(command.course_id))
    if not student.exists:
        raise Rejected("Student does not exist")
    if not course.exists:
        raise Rejected("Course does not exist")
    if command.course_id in student.courses:
        raise Rejected("Student is already in this course")
    broken = []
    if len(student.courses) >= COURSES_MAX:
        broken.append(f"Student is already in {COURSES_MAX} courses")
    if course.joined >= course.capacity:
        broken.append("Course is full")
    if broken:
        raise Rejected(*broken)
    yield StudentJoined(student=command.student_id, course=command.course_id)


def leave_course(command: LeaveCourse, past: Past) -> Iterator[StudentLeft]:
    if command.course_id not in past.fold(Student, STUDENT(command.student_id)).courses:
        raise Rejected("Student is not in this course")
    yield StudentLeft(student=command.student_id, course=command.course_id)
