"""Whole uses of tieshare, to be run and read."""
