"""What people look at: report page, annotated video, figures."""
