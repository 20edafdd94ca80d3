"""Readers of training corpora."""
