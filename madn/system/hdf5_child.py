"""Reads an HDF5 file of weights on standard input and writes it anew to standard output; run by `madn.system.hdf5`.

    python -P hdf5_child.py BYTES SECONDS [FOLDER ...]

BYTES is the memory, SECONDS the processor time that it may take, from when its own libraries are loaded. In FOLDERs it
looks for h5py and numpy where Python itself finds none. Exit code 3, and a line on standard error, for what is refused.
Nothing of madn is imported, so that this starts quickly and in any environment.
"""

import io
import math
import sys
import time

REFUSED = 3
PACKED = 256_000_000  # A compressed file may hold so many bytes more than it has.
MOST_ITEMS, DEEPEST, LONGEST = 200_000, 60, 16_000_000  # Datasets and groups; groups in groups; bytes of an attribute.


def main(most_bytes, seconds):
    """Limit this process, then read."""
    import h5py

    _limit(most_bytes, math.ceil(time.process_time()) + seconds)
    content, result = sys.stdin.buffer.read(), io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as before, h5py.File(result, "w") as after:
        _Copy(h5py, len(content)).group(before, after, "", 0)
    sys.stdout.buffer.write(result.getbuffer())
    sys.stdout.buffer.flush()


def _limit(most_bytes, seconds):
    try:
        import resource
    except ImportError:  # Windows has none; there the time of the clock alone is limited.
        return
    for what, most in (
        (resource.RLIMIT_AS, most_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),  # Nothing is written to any file.
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # The system allows less already.
            pass


class Refused(Exception):
    """What such a file must not have."""


class _Copy:
    """Copies groups and datasets that are stored whole in the file; everything else that HDF5 knows is refused."""

    def __init__(self, h5py, size):
        self.h5py, self.size, self.bytes, self.seen = h5py, size, 0, set()

    def group(self, before, after, name, depth):
        if depth > DEEPEST:
            raise Refused("has groups within groups without end")
        self._attributes(before, after, name)
        for key in before:
            place = f"{name}/{key}"
            if not isinstance(before.get(key, getlink=True), self.h5py.HardLink):
                raise Refused(f"has a link to somewhere else ({place})")
            item = before[key]
            at = self.h5py.h5o.get_info(item.id).addr
            if at in self.seen or len(self.seen) > MOST_ITEMS:
                raise Refused(f"has something twice, or too much ({place})")
            self.seen.add(at)
            if isinstance(item, self.h5py.Group):
                self.group(item, after.create_group(key), place, depth + 1)
            elif isinstance(item, self.h5py.Dataset):
                copied = after.create_dataset(key, data=self._values(item, place))
                self._attributes(item, copied, place)
            else:
                raise Refused(f"has something that is neither a group nor an array ({place})")

    def _values(self, item, place):
        if item.external or item.is_virtual:
            raise Refused(f"takes an array from other files ({place})")
        is_text = self.h5py.check_string_dtype(item.dtype) and item.size * 100 <= LONGEST
        if item.shape is None or not is_text and item.dtype.kind not in "fiub":
            raise Refused(f"has an array that is not of numbers ({place})")
        # An array may say any size: what was never written is not stored, and several may lie in one place.
        self.bytes += item.nbytes
        stored, most = item.id.get_storage_size(), self.size
        if item.chunks:
            chunks = math.prod(-(-length // step) for length, step in zip(item.shape, item.chunks))
            lacking, most = item.id.get_num_chunks() < chunks, most + PACKED
        else:
            lacking = item.nbytes > stored
        if lacking or self.bytes > most:
            raise Refused(f"says that it has more numbers than are stored in it ({place})")
        return item[()]

    def _attributes(self, before, after, name):
        for key, value in before.attrs.items():
            if isinstance(value, self.h5py.Reference | self.h5py.Empty):
                raise Refused(f"has an attribute that is no text and no numbers ({name or '/'})")
            if len(value) > LONGEST if isinstance(value, str | bytes) else getattr(value, "nbytes", 0) > LONGEST:
                raise Refused(f"has an attribute that is too long ({name or '/'})")
            after.attrs[key] = value


if __name__ == "__main__":
    sys.path += [folder for folder in sys.argv[3:] if folder not in sys.path]
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except Refused as problem:
        sys.stderr.write(ascii(str(problem))[1:-1])
        sys.exit(REFUSED)
    except MemoryError:
        sys.stderr.write("takes more memory than its size explains")
        sys.exit(REFUSED)
    except Exception as problem:  # h5py fails in any way that a damaged file leads it to.
        reason = "damaged, cut short or of another kind: " + " ".join(str(problem).split())[:100]
        sys.stderr.write(ascii(reason)[1:-1])
        sys.exit(REFUSED)
