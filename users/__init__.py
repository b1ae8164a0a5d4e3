"""The default application: create, rename, get and list users."""

from dualbus import App, Projection
from users.decisions import create_user, rename_user
from users.messages import CreateUser, GetUser, ListUsers, RenameUser, UserCreated, UserRenamed
from users.projections import USERS_TABLE, add_user
from users.projections import rename_user as rename_user_row
from users.queries import get_user, list_users

app = App(
    commands={CreateUser: create_user, RenameUser: rename_user},
    projections=[
        Projection("users", version=1, tables=USERS_TABLE, on={UserCreated: add_user, UserRenamed: rename_user_row})
    ],
    queries={GetUser: get_user, ListUsers: list_users},
    genesis=[UserCreated(id="user-123", name="John Doe", email="john.doe@example.com")],
)
