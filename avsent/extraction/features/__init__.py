"""Features of one utterance, by modality: what the networks see in training and prediction."""
