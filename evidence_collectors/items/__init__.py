"""The items we ship, each set with licence and digest in `catalog.v1.json`, and the loaders for those a user has."""
