"""The types, the five bases, the algebra, the catalog and the spec. Imports nothing above it."""
