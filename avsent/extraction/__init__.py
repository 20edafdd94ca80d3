"""Video to features: one :class:`UtteranceFeatures` for each utterance."""
