"""Faults that are put in on purpose: each must be caught by the test that is named beside it.

The product has no switch for them. A line is replaced in a copy of the source, and the test is run there; a
mutant that its test does not notice fails the build. Where a line has changed, change its mutant with it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

PACKAGES = ("gateway", "commandbus", "projector", "querybus", "reactor", "dualbus", "users", "tests")
FAULTS = "tests/faults"
UNUSED = ("cacheprovider", "schemathesis", "hypothesispytest", "anyio")  # plugins, for a quick start
MACHINES = "tests/machines/test_shared_log.py"


class Mutant(NamedTuple):
    """A fault: what is replaced in which file, and the test that must catch it."""

    file: str
    line: str  # of which a part is replaced; it is there exactly once
    by: str
    test: str


MUTANTS = {
    "reply before commit": Mutant(
        "commandbus/node.py",
        "appended = self._log.append(batch.decisions)",
        "self._link.answer([done for _, done in batch.answers]); appended = self._log.append(batch.decisions)",
        f"{FAULTS}/test_commits.py::test_nothing_is_published_and_nobody_is_answered_before_the_commit",
    ),
    "dedup off": Mutant(
        "commandbus/batch.py",
        "if job.key in self._decided or job.key in self.known:",
        "if False:",
        "tests/test_deciding.py::test_the_same_key_in_one_drain_has_one_effect_and_one_answer",
    ),
    "dedup in memory only": Mutant(
        "dualbus/log/sqlite/reader.py",
        'found = self._outcomes_where("command_id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))',
        "since = self.__dict__.setdefault('_since', self._db.execute('SELECT count(*) FROM outcomes').get)\n"
        "        found = self._outcomes_where("
        'f"command_id IN (SELECT value FROM json_each(?)) AND number > {since}", (json.dumps(ids),))',
        f"{FAULTS}/test_commits.py::test_what_a_command_came_to_is_known_when_the_log_is_opened_again",
    ),
    "publish before commit": Mutant(
        "commandbus/node.py",
        "appended = self._log.append(batch.decisions)",
        "from dualbus.log.sqlite.writer import new_commit; "
        "self._publisher.publish(new_commit(self._log._end, batch.decisions).events); "
        "appended = self._log.append(batch.decisions)",
        f"{FAULTS}/test_commits.py::test_nothing_is_published_and_nobody_is_answered_before_the_commit",
    ),
    "checkpoint in its own transaction": Mutant(
        "dualbus/readmodel/writer.py",
        'self.execute_internal(f"UPDATE {CHECKPOINT_TABLE} SET position = ?, hash = ?", (position, hash_))',
        'self.execute_internal("COMMIT"); self.execute_internal("BEGIN"); '
        'self.execute_internal(f"UPDATE {CHECKPOINT_TABLE} SET position = ?, hash = ?", (position, hash_))',
        f"{FAULTS}/test_commits.py::test_rows_whose_checkpoint_cannot_be_written_are_not_written_either",
    ),
    "checkpoint read outside the query's snapshot": Mutant(
        "dualbus/readmodel/reader.py",
        'self.execute_internal("BEGIN")',
        'checkpoint = self.checkpoint(); self.execute_internal("BEGIN"); return checkpoint',
        f"{FAULTS}/test_commits.py::test_a_snapshot_begins_with_its_checkpoint_and_ends_whatever_a_query_left_unread",
    ),
    "no idle head": Mutant(
        "commandbus/publisher.py",
        "if not self.seconds_to_head:",
        "if False:",
        f"{FAULTS}/test_commits.py::test_an_idle_commandbus_repeats_its_head",
    ),
    "gap ignored": Mutant(
        "projector/follower.py",
        "if previous_position > checkpoint:",
        "if False:",
        "tests/test_projecting.py::test_publications_in_any_order_and_number_are_applied_once_each_and_in_order",
    ),
    "cursor left open": Mutant(
        "dualbus/readmodel/guard.py",
        "return self.db.execute(sql, values, can_cache=can_cache).fetchall()",
        "self.left = self.db.execute(sql, values); next(self.left, None); "
        "return self.db.execute(sql, values).fetchall()",
        f"{FAULTS}/test_commits.py::test_a_snapshot_begins_with_its_checkpoint_and_ends_whatever_a_query_left_unread",
    ),
    "commands sent again without their ids": Mutant(
        "gateway/workers.py",
        "                again.append(request)\n",
        '                request.key = f"again-{request.key}"; again.append(request)\n',
        "tests/test_routing.py::test_what_a_dead_worker_had_is_sent_again_first_in_order_and_under_the_same_keys",
    ),
    "answers matched by request": Mutant(
        "gateway/workers.py",
        "request = worker.remove(id_)",
        "request = worker.remove(id_) or (in_flight.popitem()[1] if in_flight else None)",
        "tests/test_routing.py::test_an_answer_to_an_earlier_sending_answers_no_later_one",
    ),
    "work of an earlier registration accepted": Mutant(
        "dualbus/worker/link.py",
        "self.jobs += [job for job in work if job.registration == self.registration]",
        "self.jobs += work",
        f"{FAULTS}/test_late.py::test_a_new_registration_discards_the_work_of_earlier_ones_whenever_it_arrives",
    ),
    "work kept over a new registration": Mutant(
        "dualbus/worker/link.py",
        "        self.registration += 1\n        self.jobs.clear()\n",
        "        self.registration += 1\n",
        f"{FAULTS}/test_late.py::test_what_waits_when_a_worker_registers_again_is_discarded",
    ),
    "key looked up last": Mutant(
        "commandbus/node.py",
        "if job.deadline <= now and not batch.knows(job):",
        "if job.deadline <= now:",
        f"{FAULTS}/test_late.py::test_a_command_that_is_in_the_log_is_never_called_refused_however_late_it_is_sent_again",
    ),
    "conflict missed within a batch": Mutant(
        "commandbus/history.py",
        "return self._uncommitted(tags, types).position",
        "return self.position",
        "tests/test_conflicts.py::test_commands_before_a_conflict_are_answered_at_once_with_their_positions_in_the_log",
    ),
    "commit error called definite": Mutant(
        "commandbus/node.py",
        'unknown = [_failure(job, Code.CRASH, f"{failed} The outcome is not known.") for job in jobs]',
        'unknown = [_failure(job, Code.UNAVAILABLE, f"{failed} The outcome is not known.") for job in jobs]',
        f"{FAULTS}/test_disk.py::test_an_fsync_that_fails_is_answered_indefinite_and_each_key_comes_to_one_effect",
    ),
    "number of a commit not expected": Mutant(
        "dualbus/log/nats/commit_log.py",
        '{"Nats-Expected-Last-Sequence": str(number - 1), "Nats-Expected-Stream": self._stream.name}',
        "{}",
        "tests/machines/test_commit_log.py::TestNatsCommitLog::test_a_number_is_assigned_once",
    ),
    "refused sequence taken for another writer's": Mutant(
        "dualbus/log/nats/commit_log.py",
        "return found[0] == body",
        "return False",
        "tests/machines/test_lost_answers.py::test_a_lost_acknowledgement_is_resolved_to_the_own_commit",
    ),
    "error for a stored commit called definite": Mutant(
        "dualbus/log/nats/stream.py",
        "return self.number == STORE_FAILED and str(self) == LIMIT_TEXT",
        "return self.number != NOT_FOUND",
        "tests/machines/test_refusals.py::test_a_commit_that_the_leader_refuses_and_the_others_store_is_stored",
    ),
    "last commit followed": Mutant(
        "dualbus/log/body.py",
        "if kind == _MOVED:",
        "if False:",
        "tests/machines/test_moving.py::test_a_writer_that_is_active_during_the_move_back_ends_or_is_first",
    ),
    "replica before the commit log": Mutant(
        "dualbus/log/sqlite/shared.py",
        "stored = self._commits.put(commit.end.number, body, seconds, prepare)",
        "prepare(); self._finish(commit.end); stored = self._commits.put(commit.end.number, body, seconds)",
        f"{MACHINES}::test_of_two_writers_the_second_appends_nothing_and_then_knows_what_the_first_appended",
    ),
    "hash of a followed commit not checked": Mutant(
        "dualbus/log/body.py",
        "if commit_hash(end.hash, head, body.outcomes) != body.hash:",
        "if False:",
        f"{MACHINES}::test_a_commit_that_was_changed_on_its_way_is_never_applied",
    ),
    "old end taken for a loss": Mutant(
        "dualbus/log/sqlite/shared.py",
        "elif now - self._ahead_since > LOST_SECONDS:",
        "elif True:",
        f"{MACHINES}::test_an_old_end_of_the_commit_log_is_no_loss_for_a_while",
    ),
    "standby with work": Mutant(
        "gateway/bus.py",
        "(self.workers if worker.active_since is not None else self.standbys)",
        "self.workers",
        "tests/machines/test_roles.py::test_a_standby_receives_no_work",
    ),
    "floor of a replica": Mutant(
        "gateway/router.py",
        "and not workers.shared and",
        "and",
        "tests/machines/test_roles.py::test_queries_wait_for_the_position_of_the_active_commandbus",
    ),
    "earlier claim replaces the later": Mutant(
        "gateway/workers.py",
        "if self._has_earlier_claim(worker):",
        "if False:",
        "tests/machines/test_roles.py::test_a_commandbus_with_an_earlier_claim_receives_no_work",
    ),
    "head not witnessed": Mutant(
        "dualbus/log/sqlite/writer.py",
        "self._head_file.write(end.number, end.head, end.hash)",
        "pass",
        f"{FAULTS}/test_head.py::test_a_log_that_lost_its_wal_together_with_that_of_the_read_model_is_refused",
    ),
    "durable record written over": Mutant(
        "dualbus/log/head.py",
        "self._slot = 1 - self._slot",
        "pass",
        f"{FAULTS}/test_head.py::test_two_records_are_never_at_risk_at_once",
    ),
    "read model of another log made anew": Mutant(
        "dualbus/readmodel/checkpoints.py",
        "if identity.log != log.identity.log:",
        "if False:",
        f"{FAULTS}/test_head.py::test_the_log_of_another_cluster_is_refused_at_every_start_and_nothing_is_made_of_it",
    ),
    "chain not checked": Mutant(
        "dualbus/log/sqlite/audit.py",
        "return event_hash(self.hash, recorded[:5], tags) == recorded.hash",
        "return True",
        f"{FAULTS}/test_commits.py::test_an_event_that_was_changed_after_its_commit_is_noticed",
    ),
}


@pytest.fixture
def source(folder: Path) -> Path:
    """A copy of the source to break."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(source: Path, *tests: str, seconds: int = 60) -> subprocess.CompletedProcess[str]:
    """Run tests on a copy of the source; each fails after some seconds."""
    environ = {**os.environ, "PYTHONPATH": str(source)}
    without = [part for plugin in UNUSED for part in ("-p", f"no:{plugin}")]
    arguments = [sys.executable, "-m", "pytest", "-x", "-n0", *without, f"--timeout={seconds}", *tests]
    return subprocess.run(arguments, cwd=source, env=environ, capture_output=True, text=True)


def test_the_tests_that_catch_them_pass_where_no_fault_is_put_in(source: Path) -> None:
    """One test of each file: all run in the suite, and this run shows that they pass in a copy."""
    done = run(source, *{mutant.test.partition("::")[0]: mutant.test for mutant in MUTANTS.values()}.values())
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_fault_that_is_put_in_is_caught(source: Path, fault: str) -> None:
    mutant = MUTANTS[fault]
    # given the source with one line changed
    text = (source / mutant.file).read_text()
    assert text.count(mutant.line) == 1, f"{mutant.file} has changed: change the mutant {fault!r} with it"
    mutated = text.replace(mutant.line, mutant.by)
    compile(mutated, mutant.file, "exec")
    (source / mutant.file).write_text(mutated)
    # when the test that must catch it is run, then it fails
    done = run(source, mutant.test, seconds=10)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, f"{fault} survives:\n{done.stdout[-3000:]}"
