"""The answers to queries from the read model."""

from typing import Any

from dualbus import ReadOnlyTables
from examples.courses.messages import GetCourse, GetStudent, ListCourses

COURSE = "SELECT id, code, title, capacity, joined FROM courses"


def get_course(query: GetCourse, tables: ReadOnlyTables) -> dict[str, Any] | None:
    course = tables.one(f"{COURSE} WHERE id = ?", (query.course_id,))
    if course is None:
        return None
    students = tables.all(
        "SELECT id, name FROM students JOIN joined ON student = id WHERE course = ? ORDER BY id", (query.course_id,)
    )
    return {**course, "students": students}


def list_courses(query: ListCourses, tables: ReadOnlyTables) -> list[dict[str, Any]]:
    return tables.all(f"{COURSE} WHERE code > ? ORDER BY code LIMIT ?", (query.after, query.limit))


def get_student(query: GetStudent, tables: ReadOnlyTables) -> dict[str, Any] | None:
    student = tables.one("SELECT id, name FROM students WHERE id = ?", (query.student_id,))
    if student is None:
        return None
    courses = tables.all(
        "SELECT id, code, title FROM courses JOIN joined ON course = id WHERE student = ? ORDER BY code",
        (query.student_id,),
    )
    return {**student, "courses": courses}
