"""The changes of the read model for each event."""

from dualbus import Tables
from examples.courses.messages import (
    CapacityChanged,
    CourseDefined,
    StudentJoined,
    StudentLeft,
    StudentRegistered,
)

TABLES = """
CREATE TABLE courses (id TEXT PRIMARY KEY, code TEXT NOT NULL UNIQUE, title TEXT NOT NULL, capacity INTEGER NOT NULL,
    joined INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE students (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE joined (student TEXT NOT NULL, course TEXT NOT NULL, PRIMARY KEY (student, course)) WITHOUT ROWID;
CREATE INDEX joined_by_course ON joined (course);
"""


def add_course(event: CourseDefined, tables: Tables) -> None:
    tables.execute(
        "INSERT INTO courses (id, code, title, capacity, joined) VALUES (?, ?, ?, ?, 0)",
        (event.id, event.code, event.title, event.capacity),
    )


def change_capacity(event: CapacityChanged, tables: Tables) -> None:
    tables.execute("UPDATE courses SET capacity = ? WHERE id = ?", (event.capacity, event.id))


def add_student(event: StudentRegistered, tables: Tables) -> None:
    tables.execute("INSERT INTO students (id, name) VALUES (?, ?)", (event.id, event.name))


def join(event: StudentJoined, tables: Tables) -> None:
    tables.execute("INSERT INTO joined (student, course) VALUES (?, ?)", (event.student, event.course))
    tables.execute("UPDATE courses SET joined = joined + 1 WHERE id = ?", (event.course,))


def leave(event: StudentLeft, tables: Tables) -> None:
    tables.execute("DELETE FROM joined WHERE student = ? AND course = ?", (event.student, event.course))
    tables.execute("UPDATE courses SET joined = joined - 1 WHERE id = ?", (event.course,))
