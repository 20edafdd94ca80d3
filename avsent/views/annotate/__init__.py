"""The annotated video: ``video`` reads and writes, ``overlay`` chooses what to draw and ``drawing``
draws it."""
