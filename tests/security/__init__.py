"""Attacks on a cluster: each is refused, and each has a control that succeeds when the defence is off."""
