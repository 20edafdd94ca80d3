"""Hostile input by the thousand: ``python -m tests.fuzzing``, started by ``make fuzz``.

``media`` makes small valid files and others that lie on purpose; ``mutate`` damages bytes, texts,
arrays and journals; ``kinds`` says which file is damaged how and which command reads it; ``lane``
runs each case in a child process with limits and judges it.
"""
