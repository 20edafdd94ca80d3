"""Pure torch networks: tensors in, tensors out."""
