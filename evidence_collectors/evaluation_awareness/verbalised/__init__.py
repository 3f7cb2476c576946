"""Does the model say that it is being tested?"""
