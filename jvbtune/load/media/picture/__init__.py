"""A plain grey picture as the codecs' decoders read it: a key frame, and frames that repeat what they refer to.

Each is written from its format, so that it exists in any size, and is far smaller than a camera's frame. What a frame
has to be larger is filler that decoders skip.
"""
