"""The answers to queries from the read model."""

from dualbus import Page, ReadOnlyTables, page
from examples.courses.messages import Course, GetCourse, GetStudent, ListCourses, ListedCourse, StudentWithCourses

COLUMNS = "SELECT id, code, title, capacity, joined FROM courses"


def get_course(query: GetCourse, tables: ReadOnlyTables) -> Course | None:
    course: Course | None = tables.one(f"{COLUMNS} WHERE id = ?", (query.course_id,))
    if course is None:
        return None
    course["students"] = tables.all(
        "SELECT id, name FROM students JOIN joined ON student = id WHERE course = ? ORDER BY id", (query.course_id,)
    )
    return course


def list_courses(query: ListCourses, tables: ReadOnlyTables) -> Page[ListedCourse]:
    return page(tables, f"{COLUMNS} WHERE code > ? ORDER BY code", (query.after,), by="code", limit=query.limit)


def get_student(query: GetStudent, tables: ReadOnlyTables) -> StudentWithCourses | None:
    student: StudentWithCourses | None = tables.one("SELECT id, name FROM students WHERE id = ?", (query.student_id,))
    if student is None:
        return None
    student["courses"] = tables.all(
        "SELECT id, code, title FROM courses JOIN joined ON course = id WHERE student = ? ORDER BY code",
        (query.student_id,),
    )
    return student
