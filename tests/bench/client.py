"""The vendor's Python client, as one of the benchmark's programs: see clients.rs.

Its arguments are the connection string, the container and the blob. It locks, says when, and what it had computed by then,
both in nanoseconds; and for each number on its input it makes so many pairs, and says what it computed for them.
"""

import sys
import time

from azure.storage.blob import BlobClient

store, container, name = sys.argv[1:4]
blob = BlobClient.from_connection_string(store, container, name, use_env_settings=False)
lease = blob.acquire_lease(30)
print(time.monotonic_ns(), time.process_time_ns(), flush=True)
lease.release()
for line in sys.stdin:
    before = time.process_time_ns()
    for _ in range(int(line)):
        blob.acquire_lease(30).release()
    print(time.process_time_ns() - before, flush=True)
