"""The one exception that decoders of this package raise."""


class BitstreamError(ValueError):
    """The bytes are not a valid Pinhole bitstream.

    Every decoder in `codec_models.bitstream` raises this, and nothing else, whatever bytes it is given.
    """
