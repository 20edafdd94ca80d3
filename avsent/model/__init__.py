"""Features to decisions: networks, checkpoints, encoding, decision."""
