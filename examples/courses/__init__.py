"""Courses with a capacity and students with a limit: the course subscription example of dcb.events."""

from dualbus import App, Projection
from examples.courses import decisions, projections, queries
from examples.courses.messages import (
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

app = App(
    commands={
        RegisterStudent: decisions.register_student,
        DefineCourse: decisions.define_course,
        ChangeCapacity: decisions.change_capacity,
        JoinCourse: decisions.join_course,
        LeaveCourse: decisions.leave_course,
    },
    projections=[
        Projection(
            "courses",
            version=1,
            tables=projections.TABLES,
            on={
                CourseDefined: projections.add_course,
                CapacityChanged: projections.change_capacity,
                StudentRegistered: projections.add_student,
                StudentJoined: projections.join,
                StudentLeft: projections.leave,
            },
        )
    ],
    queries={
        GetCourse: queries.get_course,
        ListCourses: queries.list_courses,
        GetStudent: queries.get_student,
    },
    genesis=[
        CourseDefined(id="course-1", code="MATH-1", title="Mathematics for everyone", capacity=2),
        StudentRegistered(id="student-1", name="Ada"),
    ],
)
