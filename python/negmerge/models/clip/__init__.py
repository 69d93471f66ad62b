"""Models of images and text: those of open_clip, and small ones that are trained here."""
