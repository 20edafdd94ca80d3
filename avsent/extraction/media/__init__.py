"""Read media files: containers, pictures and sound with presentation times."""
