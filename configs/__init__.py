"""Settings, logs and what three or more packages need."""

__version__ = "0.1.0"
