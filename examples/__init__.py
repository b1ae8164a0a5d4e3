"""Richer applications, each a package to read and to copy from."""
