"""The governor: one for each provider, key and family of models, shared by all processes of this user."""
