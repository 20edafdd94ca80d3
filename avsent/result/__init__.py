"""The result record and its file formats."""
