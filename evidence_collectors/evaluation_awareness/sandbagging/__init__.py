"""Do answers get better when what the model can do is drawn out of it?"""
