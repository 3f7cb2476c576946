"""Does the model behave otherwise under test?"""
