"""evaluation_awareness.probe: can a state inside the model tell evaluation from deployment, and does behaviour hang on it?"""
