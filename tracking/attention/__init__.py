"""Attention: which frames a detector is asked about."""
