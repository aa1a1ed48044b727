"""Tracking: from boxes to objects with a life of their own."""
