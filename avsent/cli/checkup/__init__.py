"""Whether avsent can work on this machine, and what to do where it cannot."""
