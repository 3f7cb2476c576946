"""How is each instrument certified? A recipe a kind, and the organisms they share."""
