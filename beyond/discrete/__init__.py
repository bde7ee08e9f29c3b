"""Discrete codes: an image as a grid of integers instead of a vector of real numbers.

    images -> encoder -> a vector for each patch -> quantizer -> an index for each patch
    indices -> code vectors -> decoder -> images
    label -> prior -> indices: an autoregressive transformer, from which the model generates

`vq.py` and `fsq.py` are two quantizers of one interface (`quantizer.py`), `prior.py` is the transformer,
`model.py` puts them together into a model of the lab.
"""
