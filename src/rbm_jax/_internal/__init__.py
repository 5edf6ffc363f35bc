"""What the packages share and no user needs."""

__all__ = []
