// The vendor's JavaScript client, as one of the benchmark's programs: see clients.rs.
//
// Its arguments are the connection string, the container and the blob. It locks, says when, and what it had computed by
// then, both in nanoseconds; and for each number on its input it makes so many pairs, and says what it computed for them.

"use strict";

const readline = require("node:readline");

const { BlobServiceClient } = require("@azure/storage-blob");

const processor = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
};

(async () => {
  const [store, container, name] = process.argv.slice(2);
  const blob = BlobServiceClient.fromConnectionString(store).getContainerClient(container).getBlobClient(name);
  const lease = blob.getBlobLeaseClient();
  await lease.acquireLease(30);
  console.log(`${process.hrtime.bigint()} ${processor()}`);
  await lease.releaseLease();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const before = processor();
    for (let pair = 0; pair < Number(line); pair++) {
      const lease = blob.getBlobLeaseClient();
      await lease.acquireLease(30);
      await lease.releaseLease();
    }
    console.log(`${processor() - before}`);
  }
})();
