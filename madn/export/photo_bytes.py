"""Photos as bytes within a TensorFlow graph: JPEG or PNG in, PNG out, for servers whose clients have files."""

import tensorflow as tf

HEAD = 1 << 17  # EXIF lies at the beginning of a JPEG, and its segment has less than 64 KiB.
ORIENTATION = 0x0112


def decode_photo(contents: tf.Tensor) -> tf.Tensor:
    """A JPEG's or a PNG's pixels, upright: uint8 (height, width, 3) RGB.

    A JPEG is turned as its EXIF orientation says. Grey becomes RGB, transparency is dropped, and of 16 bits the upper
    8 are kept. Colour profiles are not applied. TensorFlow raises `InvalidArgumentError` for anything else.
    """
    return tf.cond(
        tf.io.is_jpeg(contents),
        # Other decoders compute the accurate transform, too; TensorFlow's default is a faster one.
        lambda: turn(
            tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"), exif_orientation(contents)
        ),
        lambda: tf.io.decode_png(contents, channels=3),
    )


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """`image`, (height, width, channels), upright, of an EXIF orientation of 1 to 8; others leave it as it is."""

    def among(*values: int) -> tf.Tensor:
        return tf.reduce_any(orientation == values)

    image = tf.cond(among(5, 6, 7, 8), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(among(2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)
    return tf.cond(among(3, 4, 7, 8), lambda: image[::-1], lambda: image)


def exif_orientation(contents: tf.Tensor) -> tf.Tensor:
    """The orientation that a JPEG's EXIF names, int32; 1, which is upright, where there is none.

    Exif 2.32: a TIFF structure follows b"Exif\\0\\0"; its header has the byte order and the place of the first
    directory, whose entries have 12 bytes each: tag, type, count and value.
    """
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, 0, HEAD), tf.uint8), tf.int32)
    marker = tf.constant(list(b"Exif\0\0"))
    places = tf.where(tf.reduce_all(tf.signal.frame(head, len(marker), 1) == marker, axis=1))[:, 0]
    start = tf.cond(
        tf.size(places) > 0, lambda: tf.cast(places[0], tf.int32) + len(marker), lambda: tf.constant(HEAD, tf.int32)
    )
    tiff = tf.concat([head[start:], tf.zeros(16, tf.int32)], axis=0)
    little = tiff[0] == ord("I")

    def number(at: tf.Tensor, size: int) -> tf.Tensor:
        """The unsigned number of `size` bytes at each place; beyond the end there are zeros."""
        places = tf.clip_by_value(at[..., None] + tf.range(size), 0, tf.size(tiff) - 1)
        digits = tf.gather(tiff, tf.where(little, places[..., ::-1], places))
        return tf.reduce_sum(digits * [256**power for power in reversed(range(size))], axis=-1)

    # Of the directory's place the lower three bytes are read: the head has not more, and int32 cannot overflow.
    first = number(tf.where(little, 4, 5), 3)
    entries = first + 2 + 12 * tf.range(tf.minimum(number(first, 2), HEAD // 12))
    named = tf.boolean_mask(entries, number(entries, 2) == ORIENTATION)
    return tf.cond(tf.size(named) > 0, lambda: number(named[0] + 8, 2), lambda: tf.constant(1, tf.int32))
