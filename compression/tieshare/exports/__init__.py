"""From trained values to files.

``tied``    the uploaded graph with other values.
``shared``  the file that is served: ``prune`` removes units, ``fold`` takes batch normalisation
            into the layers, ``choose`` measures the ``forms`` of each layer, ``verify`` compares
            the outcome with the tied model.
``count``   parameters, zeros, unique parameters.
"""
