"""How does each instrument get its certificate? A recipe a kind, and the organisms they share."""
