"""What does the model compute? Instruments that read its activations and change them."""
