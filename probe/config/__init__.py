"""The configuration: YAML to frozen dataclasses, every breach at once with its path and line."""
