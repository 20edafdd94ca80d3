"""The annotated video: the source's pictures with faces, sentiment and text drawn into them.

``video`` reads and writes, ``overlay`` knows what is drawn when, ``drawing`` has colours, sizes
and lettering.
"""
