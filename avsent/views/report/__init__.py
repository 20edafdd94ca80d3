"""What people look at: the report page of a video, and timelines for papers."""
