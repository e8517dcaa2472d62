"""How unlike its training pictures a model finds a picture: fitted, and as layers of the model."""
