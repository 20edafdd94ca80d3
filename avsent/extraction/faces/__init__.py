"""Faces: detection, tracking, landmarks, alignment, and who is speaking.

Nothing is imported here: the command line needs :mod:`avsent.options` without dlib.
"""
