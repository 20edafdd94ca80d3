"""Faces: detection, tracking, landmarks, alignment, and who is speaking."""
