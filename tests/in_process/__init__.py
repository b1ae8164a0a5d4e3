"""An application in the process of its test, beside a cluster."""
