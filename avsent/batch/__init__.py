"""Whole folders: what is there, a journal of what was done, and engines that do the rest."""
