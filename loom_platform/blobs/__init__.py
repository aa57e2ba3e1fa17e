"""Large bodies in object storage: named by their hash, encrypted with a key per device, gone with their last row.

`open_blobs` is where to begin; docs/how-to/bodies.md tells the rest.
"""

from loom_platform.blobs.errors import BlobDamagedError, BlobError, BlobMissingError, BlobUrlError, KeyDestroyedError
from loom_platform.blobs.keys import destroy_key
from loom_platform.blobs.removal import Removed
from loom_platform.blobs.store import Blobs, open_blobs

__all__ = [
    "BlobDamagedError",
    "BlobError",
    "BlobMissingError",
    "BlobUrlError",
    "Blobs",
    "KeyDestroyedError",
    "Removed",
    "destroy_key",
    "open_blobs",
]
