"""dualbus describe, events and verify: what is said of an application, a log and a read model."""

import json
from pathlib import Path

import apsw
import pytest

from dualbus.cli.main import COMMANDS
from dualbus.commandbus.node import genesis
from dualbus.log.sqlite.writer import SqliteLog
from tests.cli.conftest import Run
from tests.cli.members import app as members


def test_help_shows_the_whole_sentence_of_each_command(run: Run) -> None:
    shown = run("--help").out

    for command in COMMANDS:
        sentence = (command.__doc__ or "").split("\n")[0]
        assert len(sentence) <= 60
        assert sentence in shown


def test_describe_tells_what_an_application_can_do_without_a_cluster(run: Run) -> None:
    said = run("describe")

    assert said.code == 0
    for word in ("CreateUser", "name (text), email (text)", "ListUsers", "limit (whole number, default 100)"):
        assert word in said.out
    assert "email (text, private)" in said.out
    assert "id (text, tag user)" in said.out


def test_describe_tells_a_program_the_schema_of_every_message(run: Run) -> None:
    said = json.loads(run("describe", "--json").out)

    assert [one["type"] for one in said["commands"]] == ["CreateUser", "RenameUser"]
    assert said["commands"][0]["schema"]["required"] == ["name", "email"]
    created = next(one for one in said["events"] if one["type"] == "UserCreated")
    assert (created["tags"], created["private"]) == ({"id": "user"}, ["email"])
    assert said["projections"] == [{"name": "users", "version": 1, "on": ["UserCreated", "UserRenamed"]}]


def test_events_are_shown_from_a_position_and_without_private_fields(run: Run, data: Path) -> None:
    everything = run("events", "--json").out.splitlines()
    later = run("events", "--from", 40, "--json").out.splitlines()

    assert later == everything[39:]
    first = json.loads(everything[0])
    assert (first["position"], first["type"]) == (1, "UserCreated")
    assert first["data"] == {"id": "user-123", "name": "John Doe"}
    assert json.loads(run("events", "--json", "--private").out.splitlines()[0])["data"]["email"].startswith(
        "john.doe@"
    )
    assert run("events").out.splitlines()[0].endswith('UserCreated  {"id": "user-123", "name": "John Doe"}')


def test_events_are_found_by_type_and_by_tag(run: Run, data: Path) -> None:
    everything = [json.loads(line) for line in run("events", "--json").out.splitlines()]

    renamed = [json.loads(line) for line in run("events", "--json", "--type", "UserRenamed").out.splitlines()]
    john = [json.loads(line) for line in run("events", "--json", "--tag", "user:user-123").out.splitlines()]

    assert renamed == [one for one in everything if one["type"] == "UserRenamed"] != []
    assert john == [one for one in everything if one["data"]["id"] == "user-123"]
    assert len(john) > 1


def test_events_are_found_by_a_tag_whose_value_the_log_hides(run: Run, tmp_path: Path) -> None:
    SqliteLog(tmp_path / "data", lambda secret: genesis(members, secret)).close()

    found = run("events", "--tag", "email:ada@example.org", app="tests.cli.members:app")

    assert found.out.endswith('Joined  {"id": "m-1"}\n')
    assert run("events", "--tag", "email:bob@example.org", app="tests.cli.members:app").out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["events", "--type", "UserRenmed"], "Unknown event 'UserRenmed': did you mean UserRenamed?"),
        (["events", "--tag", "usr:1"], "Unknown tag 'usr': did you mean user?"),
        (["command", "createuser"], "Unknown command 'createuser': did you mean CreateUser?"),
        (["query", "Get"], "Unknown query 'Get'"),
        (["command", "CreateUser", "nmae=Ada"], "CreateUser has no field 'nmae': did you mean name?"),
        (["command", "CreateUser", "name"], "'name' has no value: write FIELD=VALUE."),
        (["command", "CreateUser", "name=A", "name=B"], "Duplicate field name: write it once."),
        (["query", "ListUsers", "limit=" + "[" * 100_000], "A value is nested more than 32 deep: use fewer levels."),
        (["send", "no-such-file"], "no-such-file cannot be read"),
        (["nosuch"], "No such command 'nosuch'"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(run: Run, data: Path, arguments: list[str], said: str) -> None:
    came = run(*arguments)

    assert (came.code, came.out) == (2, "")
    assert said in came.err
    assert "Traceback" not in came.err


def test_settings_and_applications_that_cannot_be_used_are_wrong_use(run: Run) -> None:
    assert run("verify", timeout_ms="soon").code == 2
    missing = run("describe", app="nosuch:app")

    assert missing.code == 2
    assert missing.err == "There is no module 'nosuch': DUALBUS_APP is 'nosuch:app'. Set it to your application.\n"


def test_verify_says_what_it_proved_and_changes_nothing(run: Run, data: Path) -> None:
    before = {path.name: path.read_bytes() for path in data.glob("*.db")}

    said = run("verify")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("The log is whole: positions 1 to 45 without a hole")
    assert "The read model at position 45 is what the log gives: 29 rows in 1 table.\n" in said.out
    assert {path.name: path.read_bytes() for path in data.glob("*.db")} == before


def test_verify_says_what_is_wrong_and_where_first(run: Run, data: Path) -> None:
    log = apsw.Connection(str(data / "log.db"))
    log.execute("UPDATE events SET data = replace(data, 'Ada', 'Eva') WHERE position IN (9, 30)")
    log.close()

    said = run("verify")

    assert (said.code, said.out) == (1, "")
    assert said.err == "Position 9 was changed: restore the log from a backup.\n"


def test_verify_without_a_log_or_without_a_read_model(run: Run, data: Path) -> None:
    next(data.glob("read-*.db")).unlink()
    without_model = run("verify")

    assert without_model.code == 0
    assert "The folder has no read model of these projections to compare" in without_model.out
    assert run("verify", data=data / "nothing") == (
        1,
        "",
        f"There is no log at {data}/nothing/log.db: start commandbus, which creates it.\n",
    )


def test_verify_proves_a_log_with_hidden_tags(run: Run, tmp_path: Path) -> None:
    SqliteLog(tmp_path / "data", lambda secret: genesis(members, secret)).close()

    assert run("verify", app="tests.cli.members:app").out.startswith(
        "The log is whole: positions 1 to 1 without a hole"
    )


def test_an_application_is_drawn_from_its_commands_to_its_queries(run: Run) -> None:
    drawn = run("describe", "--graph").out.splitlines()

    assert drawn[0] == "flowchart LR"
    for edge in ("c_CreateUser --> e_UserCreated", "e_UserRenamed --> p_users", "model --> q_ListUsers"):
        assert f"    {edge}" in drawn


def test_messages_with_parameters_have_nodes_of_their_own(run: Run) -> None:
    drawn = run("describe", "--graph", app="tests.cli.generic:app").out.splitlines()

    assert drawn[1:7] == [
        '    c_Move_5b_int_5d_["Move[int]"]',
        "    c_Move_5b_int_5d_ --> e_Moved_5b_int_5d_",
        '    c_Move_5b_str_5d_["Move[str]"]',
        "    c_Move_5b_str_5d_ --> e_Moved_5b_str_5d_",
        '    e_Moved_5b_int_5d_(["Moved[int]"])',
        '    e_Moved_5b_str_5d_(["Moved[str]"])',
    ]
