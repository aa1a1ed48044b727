"""What objects look like, to know them again: features from a ReID model's file, and the same person across cameras."""
