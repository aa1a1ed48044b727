"""The HTTP API, one file for each thing that can be asked."""
