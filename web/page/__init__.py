"""The page: the state of the cluster, its events, commands, messages and rows, as HTML for people."""
