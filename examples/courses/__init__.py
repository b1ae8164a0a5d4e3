"""Courses with a capacity and students with a limit: the course subscription example of dcb.events."""

from dualbus import App, Projection
from examples.courses import decisions, projections, queries
from examples.courses.messages import CourseDefined, StudentRegistered

app = App(
    commands=[
        decisions.register_student,
        decisions.define_course,
        decisions.change_capacity,
        decisions.join_course,
        decisions.leave_course,
    ],
    projections=[
        Projection(
            "courses",
            version=1,
            tables=projections.TABLES,
            on=[
                projections.add_course,
                projections.change_capacity,
                projections.add_student,
                projections.join,
                projections.leave,
            ],
        )
    ],
    queries=[queries.get_course, queries.list_courses, queries.get_student],
    genesis=[
        CourseDefined(id="course-1", code="MATH-1", title="Mathematics for everyone", capacity=2),
        StudentRegistered(id="student-1", name="Ada"),
    ],
)
