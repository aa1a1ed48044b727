"""Traces of frames: what each stage took, by OpenTelemetry, for a share of the frames."""
