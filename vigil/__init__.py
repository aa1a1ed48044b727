"""Vigil: cameras in, tracked events out. This package only composes the stages."""

__version__ = "0.1.0"
