"""Training: what teaches the networks, and what measures them."""
