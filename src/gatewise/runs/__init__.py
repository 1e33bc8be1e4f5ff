"""Shared by studies and experiments: folders of records, user files, processes."""
