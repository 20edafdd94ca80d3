"""Fusion heads: embeddings of a video's utterances → decision. One file each."""
