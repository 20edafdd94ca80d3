"""The annotated video: the source's pictures with faces, sentiment and text drawn into them.

``video`` runs it; ``picture`` and ``sound`` read, ``encoder`` writes, ``boxes`` and ``schedule``
know what is where and when, ``overlay`` draws what ``panel``, ``timeline`` and ``labels`` lay out,
with ``lettering``'s words on ``plates``.
"""
