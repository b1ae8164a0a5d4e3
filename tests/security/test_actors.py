"""The actor in decisions: in a cluster, and in the test kit."""

import pytest

from dualbus import Rejected
from dualbus.testing import Cluster, decide
from tests.raw import RawClient, command

from .owners import ListCreated, ListRenamed, RenameList, app
from .test_permissions import KeyOf

OWNED = ListCreated(id="l", owner="ada")
RENAME = RenameList(list_id="l", name="new")


def test_a_rule_about_the_actor_is_tested_on_values() -> None:
    assert decide(app, given=[OWNED], when=RENAME, actor="ada") == [ListRenamed(id="l", name="new")]
    for other in ("eve", None):
        with pytest.raises(Rejected, match="Only the owner"):
            decide(app, given=[OWNED], when=RENAME, actor=other)


def test_only_the_owner_may_rename_in_a_cluster_also_in_one_batch(keyed: Cluster, key_of: KeyOf) -> None:
    keyed.environ["DUALBUS_APP"] = "tests.security.owners:app"
    ada, eve = key_of("ada", "--commands", "*"), key_of("eve", "--commands", "*")
    keyed.start("gateway", "commandbus")
    with RawClient(keyed.front, ada) as first, RawClient(keyed.front, eve) as second:
        rename = command("RenameList", list_id="l", name="new")
        created, own = first.ask(command("CreateList", name="l"), rename)
        assert (created["success"], own["success"]) == (True, True)
        [other] = second.ask(rename)
        assert other["errors"] == ["Only the owner may rename a list"]
