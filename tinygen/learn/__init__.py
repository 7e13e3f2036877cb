"""Exercises of the lessons, each with the wrong solutions that people write."""
