"""Where the files of a batch are processed: this machine, its GPU, a Ray cluster."""
