"""MoMask as an engine."""
