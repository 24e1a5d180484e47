"""Searches replayed on a table of trainings: the table, the contestants, the measures, the page."""
