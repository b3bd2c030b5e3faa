"""From trained values to files.

``tied``    the uploaded graph with other values; ``widen`` puts those of a narrow network in it.
``shared``  the file that is served: ``constants`` folds what dead inputs send on, ``prune``
            removes units, ``fold`` takes batch normalisation into the layers, ``choose`` measures
            the ``forms`` of each layer, ``verify`` compares the outcome with the tied model.
``count``   parameters, zeros, unique parameters.
"""
