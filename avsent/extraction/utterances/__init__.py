"""Find utterances: voice activity, segmentation, boundaries given by the user."""
