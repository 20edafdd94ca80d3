"""Hostile input by the thousand: ``python -m tests.fuzzing``, started by ``make fuzz``.

``seeds`` makes small valid files, ``mutate`` and ``texts`` spoil them, ``crafted`` writes files
that lie, ``kinds`` says which command reads each, ``lane`` runs every case in a child process of
its own and judges how it ended, ``report`` writes the dated file. Case N is the same in every run
with the same libraries: ``--only N`` does it again and keeps what it read.
"""
