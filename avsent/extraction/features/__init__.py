"""Features of one utterance and modality: what the networks see, for training and prediction."""
