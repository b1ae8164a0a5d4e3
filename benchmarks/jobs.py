"""The application of the measures of reactions: each event causes a command."""

from collections.abc import Iterator
from typing import Annotated

from dualbus import App, Command, Event, Past, Reaction, Tag

JOB = Tag("job")


class StartJob(Command):
    job: str


class FinishJob(Command):
    job: str


class JobStarted(Event):
    job: Annotated[str, JOB]


class JobFinished(Event):
    job: Annotated[str, JOB]


def start(command: StartJob, past: Past) -> Iterator[JobStarted]:
    yield JobStarted(job=command.job)


def finish(command: FinishJob, past: Past) -> Iterator[JobFinished]:
    yield JobFinished(job=command.job)


def finish_started(event: JobStarted, past: Past) -> Iterator[FinishJob]:
    yield FinishJob(job=event.job)


app = App(commands=[start, finish], reactions=[Reaction("jobs", on=[finish_started], since="beginning")])
