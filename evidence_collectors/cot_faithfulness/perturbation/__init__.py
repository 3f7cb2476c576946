"""The instrument whose contract stands in `collector`."""
