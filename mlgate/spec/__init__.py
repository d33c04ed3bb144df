"""mlgate.yaml: as text with places, as a typed value, and what is wrong with it."""
