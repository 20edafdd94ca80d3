"""The models that come with avsent: from RAVDESS and FER2013 to ``models/``."""
