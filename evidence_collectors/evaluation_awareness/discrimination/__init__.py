"""Can the model tell tests from use, when asked?"""
