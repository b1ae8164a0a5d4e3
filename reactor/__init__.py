"""Runs reactions: sends the commands caused by events, fires timers, and runs effects on other systems."""
