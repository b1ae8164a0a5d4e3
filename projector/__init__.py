"""Log in, read model out: subscribes, catches up, follows."""
