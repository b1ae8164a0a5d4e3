"""The default application: create, rename, get and list users."""

from dualbus import App, Projection
from users.decisions import create_user, rename_user
from users.messages import UserCreated
from users.projections import USERS_TABLE, add_user, update_name
from users.queries import get_user, list_users

app = App(
    commands=[create_user, rename_user],
    projections=[Projection("users", version=1, tables=USERS_TABLE, on=[add_user, update_name])],
    queries=[get_user, list_users],
    genesis=[UserCreated(id="user-123", name="John Doe", email="john.doe@example.com")],
)
