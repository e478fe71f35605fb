// The vendor's client against the server whose connection string is the argument: what locks use of the service.
//
// Prints a line for each check, and ends at the first that fails. Where it prints `advance N` it wants the server's
// clock to be moved on by so many seconds, and a line on its input when that is done.

"use strict";

const { randomUUID } = require("node:crypto");
const readline = require("node:readline");
const { isDeepStrictEqual } = require("node:util");

const {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  AnonymousCredential,
  BlobClient,
  BlobSASPermissions,
  BlobServiceClient,
  BlockBlobClient,
  ContainerClient,
  ContainerSASPermissions,
  RestError,
  StorageSharedKeyCredential,
  generateAccountSASQueryParameters,
  generateBlobSASQueryParameters,
} = require("@azure/storage-blob");

// No second try that would hide a failure.
const OPTIONS = { retryOptions: { maxTries: 1 } };
const ANONYMOUS = new AnonymousCredential();
const A = "aaaaaaaa-1111-4222-8333-444444444444";
const B = "bbbbbbbb-1111-4222-8333-444444444444";
const CONTAINER = `javascript-${randomUUID()}`;

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function check(what, found, expected = true) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
  }
  console.log(`ok: ${what}`);
}

// `expected` is the status and the service's code.
async function refused(what, expected, call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof RestError)) throw error;
    // The answer to a HEAD request has its code in a header alone, where the client does not look.
    check(what, `${error.statusCode} ${error.response.headers.get("x-ms-error-code")}`, expected);
    return;
  }
  throw new Error(`${what}: not refused`);
}

async function advance(seconds) {
  console.log(`advance ${seconds}`);
  await answers.next();
}

async function leaseOf(blob) {
  const { leaseState, leaseStatus, leaseDuration } = await blob.getProperties();
  return [leaseState, leaseStatus, leaseDuration];
}

async function created(container, name) {
  const blob = container.getBlockBlobClient(name);
  await blob.upload("", 0);
  return blob;
}

async function containers(container) {
  const missing = "404 ContainerNotFound";
  check("a container that is not there", await container.exists(), false);
  await refused("its properties", missing, () => container.getProperties());
  await refused("a blob in it", missing, () => container.getBlockBlobClient("job").upload("", 0));
  await refused("its deletion", missing, () => container.delete());
  await container.create({ metadata: { purpose: "locks" } });
  check("a container that was created", await container.exists());
  check("its metadata", (await container.getProperties()).metadata, { purpose: "locks" });
  await refused("its creation again", "409 ContainerAlreadyExists", () => container.create());
  check("its creation if it is not there", (await container.createIfNotExists()).succeeded, false);
  const noLease = "412 LeaseNotPresentWithContainerOperation";
  await refused("its deletion by a lease", noLease, () => container.delete({ conditions: { leaseId: A } }));
}

async function blobs(container) {
  const blob = container.getBlockBlobClient("a b/é+%2F");
  const missing = "404 BlobNotFound";
  check("a blob that is not there", await blob.exists(), false);
  await refused("a lease on it", missing, () => blob.getBlobLeaseClient(A).acquireLease(15));
  await refused("a look at it", missing, () => blob.getProperties());
  await refused("its deletion", missing, () => blob.delete());
  const none = { conditions: { ifNoneMatch: "*" } };
  const blobHTTPHeaders = { blobContentType: "text/plain", blobCacheControl: "no-store" };
  await blob.upload("first", 5, { metadata: { owner: "me" }, blobHTTPHeaders, ...none });
  check("a blob that was uploaded", await blob.exists());
  check("its content", (await blob.downloadToBuffer()).toString(), "first");
  check("a part of it", (await blob.downloadToBuffer(1, 3)).toString(), "irs");
  const { contentType, cacheControl, metadata } = await blob.getProperties();
  check("its headers", [contentType, cacheControl, metadata], ["text/plain", "no-store", { owner: "me" }]);
  await blob.setHTTPHeaders({ blobContentLanguage: "de" });
  const changed = await blob.getProperties();
  check("headers set anew", [changed.cacheControl, changed.contentLanguage], [undefined, "de"]);
  await refused("an upload over it", "409 BlobAlreadyExists", () => blob.upload("second", 6, none));
  await blob.upload("third", 5);
  check("what was put over it", (await blob.downloadToBuffer()).toString(), "third");
  check("the metadata went with the content", (await blob.getProperties()).metadata, {});
  check("a blob that was deleted", (await blob.deleteIfExists({ deleteSnapshots: "include" })).succeeded);
  check("and deleted again", (await blob.deleteIfExists()).succeeded, false);
  const page = container.getPageBlobClient("page");
  await page.create(0, { blobSequenceNumber: 5 });
  check("a counter", (await page.updateSequenceNumber("increment")).blobSequenceNumber, 6);
  const append = container.getAppendBlobClient("append");
  await append.create();
  check("an append blob", (await append.getProperties()).blobType, "AppendBlob");
}

async function leases(container) {
  const blob = await created(container, "job");
  const [first, second] = [A, B].map((id) => blob.getBlobLeaseClient(id));
  check("a lease that nobody has", await leaseOf(blob), ["available", "unlocked", undefined]);
  await refused("too short a lease", "400 InvalidHeaderValue", () => first.acquireLease(14));
  check("the proposed id", (await first.acquireLease(15)).leaseId, A);
  check("a lease that is held", await leaseOf(blob), ["leased", "locked", "fixed"]);
  check("taken again by its holder", (await first.acquireLease(60)).leaseId, A);
  await refused("taken by another", "409 LeaseAlreadyPresent", () => second.acquireLease(15));
  check("a renewal", (await first.renewLease()).leaseId, A);
  const mismatch = "409 LeaseIdMismatchWithLeaseOperation";
  await refused("renewed by another", mismatch, () => second.renewLease());
  await refused("released by another", mismatch, () => second.releaseLease());
  const changed = blob.getBlobLeaseClient(A);
  check("the id after a change", (await changed.changeLease(B)).leaseId, B);
  await refused("renewed by the old id", mismatch, () => first.renewLease());
  await changed.releaseLease();
  check("after the release", await leaseOf(blob), ["available", "unlocked", undefined]);
  await refused("released again", mismatch, () => changed.releaseLease());
  await refused("renewed after the release", mismatch, () => changed.renewLease());
  const notPresent = "409 LeaseNotPresentWithLeaseOperation";
  await refused("broken after the release", notPresent, () => changed.breakLease(0));
}

async function breaks(container) {
  const blob = await created(container, "broken");
  const [first, second] = [A, B].map((id) => blob.getBlobLeaseClient(id));
  await first.acquireLease(60);
  check("the time until it is broken", (await first.breakLease(20)).leaseTime, 20);
  check("a lease that breaks", await leaseOf(blob), ["breaking", "locked", undefined]);
  await refused("renewed as it breaks", "409 LeaseIsBrokenAndCannotBeRenewed", () => first.renewLease());
  const ownBreak = "409 LeaseIsBreakingAndCannotBeAcquired";
  await refused("taken as it breaks", ownBreak, () => first.acquireLease(15));
  await refused("taken by another as it breaks", "409 LeaseAlreadyPresent", () => second.acquireLease(15));
  await advance(20);
  check("a lease that is broken", await leaseOf(blob), ["broken", "unlocked", undefined]);
  await second.acquireLease(-1);
  check("a lease without an end", await leaseOf(blob), ["leased", "locked", "infinite"]);
  check("broken at once", (await second.breakLease(0)).leaseTime, 0);
  await second.releaseLease();
  check("released when broken", await leaseOf(blob), ["available", "unlocked", undefined]);
}

async function expiry(container) {
  const blob = await created(container, "expired");
  const [first, second] = [A, B].map((id) => blob.getBlobLeaseClient(id));
  await first.acquireLease(15);
  await advance(15);
  check("a lease that ran out", await leaseOf(blob), ["expired", "unlocked", undefined]);
  await first.renewLease();
  check("and was renewed, since nobody took it", await leaseOf(blob), ["leased", "locked", "fixed"]);
  await advance(15);
  await second.acquireLease(15);
  const mismatch = "409 LeaseIdMismatchWithLeaseOperation";
  await refused("renewed after another took it", mismatch, () => first.renewLease());
}

async function protection(container) {
  const blob = await created(container, "leased");
  const [mine, other] = [A, B].map((leaseId) => ({ conditions: { leaseId } }));
  const [missing, mismatch] = ["412 LeaseIdMissing", "412 LeaseIdMismatchWithBlobOperation"];
  const lease = blob.getBlobLeaseClient(A);
  await lease.acquireLease(15);
  await refused("metadata without the lease", missing, () => blob.setMetadata({ owner: "other" }));
  await refused("metadata with another lease", mismatch, () => blob.setMetadata({ owner: "other" }, other));
  await blob.setMetadata({ owner: "me", fence: "17" }, mine);
  check("metadata with the lease", (await blob.getProperties()).metadata, { owner: "me", fence: "17" });
  await refused("an upload without the lease", missing, () => blob.upload("x", 1));
  await blob.upload("mine", 4, mine);
  check("an upload with the lease", (await blob.downloadToBuffer(0, undefined, mine)).toString(), "mine");
  await refused("a look with another lease", mismatch, () => blob.getProperties(other));
  await refused("a deletion without the lease", missing, () => blob.delete());
  await lease.releaseLease();
  const gone = "412 LeaseNotPresentWithBlobOperation";
  await refused("a deletion with what was let go", gone, () => blob.delete(mine));
}

async function conditions(container) {
  const blob = container.getBlockBlobClient("conditional");
  const { etag: old } = await blob.upload("", 0);
  const { etag } = await blob.setMetadata({ n: "1" });
  check("a change of the etag", old !== etag);
  const stale = { conditions: { ifMatch: old } };
  const notMet = "412 ConditionNotMet";
  const lease = blob.getBlobLeaseClient(A);
  await refused("metadata by an old etag", notMet, () => blob.setMetadata({ n: "2" }, stale));
  await refused("a lease by an old etag", notMet, () => lease.acquireLease(15, stale));
  await refused("a deletion by an old etag", notMet, () => blob.delete(stale));
  await lease.acquireLease(15, { conditions: { ifMatch: etag } });
  check("a lease leaves the etag as it is", (await blob.getProperties()).etag, etag);
  await lease.releaseLease();
}

// What would be done by half is not done.
async function listings(service) {
  const { containerClient: container } = await service.createContainer(`${CONTAINER}-listed`);
  const names = ["Job", "a b/é+%2F&<", "job", "x\uffff"];
  for (const name of names) {
    await container.getBlockBlobClient(name).upload("", 0, { metadata: { BuildId: "1<2" } });
  }
  await container.getBlobClient("job").getBlobLeaseClient(A).acquireLease(60);
  await container.getBlobClient("Job").getBlobLeaseClient(A).acquireLease(-1);
  const pages = [];
  for await (const page of container.listBlobsFlat({ includeMetadata: true }).byPage({ maxPageSize: 2 })) {
    pages.push(page.segment.blobItems);
  }
  const named = pages.map((page) => page.map((blob) => blob.name));
  check("all names, in order and in pages", named, [names.slice(0, 2), names.slice(2)]);
  const blobs = pages.flat();
  const states = blobs.map((blob) => blob.properties.leaseState);
  check("with their leases", states, ["leased", "available", "leased", "available"]);
  const durations = blobs.map((blob) => blob.properties.leaseDuration);
  check("and how long these last", durations, ["infinite", undefined, "fixed", undefined]);
  check("with their metadata", blobs.map((blob) => blob.metadata?.BuildId), Array(4).fill("1<2"));
  const all = async (options) => {
    const found = [];
    for await (const blob of container.listBlobsFlat(options)) found.push(blob.name);
    return found;
  };
  check("by a prefix", await all({ prefix: "a b/é" }), names.slice(1, 2));
  const not = "501 NotImplemented";
  await refused("a walk by a delimiter", not, () => container.listBlobsByHierarchy("/").next());
  await refused("a list of snapshots", not, () => all({ includeSnapshots: true }));
  await refused("a list of containers", not, () => service.listContainers().next());
  await container.delete();
  await refused("a list of what is gone", "404 ContainerNotFound", () => all());
}

async function unknown(container) {
  const blob = await created(container, "unknown");
  const { etag } = await blob.getProperties();
  const not = "501 NotImplemented";
  const tagged = { conditions: { tagConditions: "owner = 'me'" } };
  await refused("an upload with tags", not, () => blob.upload("x", 1, { tags: { owner: "me" } }));
  await refused("an upload to a tier", not, () => blob.upload("x", 1, { tier: "Cool" }));
  const sum = { transactionalContentMD5: Buffer.alloc(16) };
  await refused("an upload with a wrong checksum", not, () => blob.upload("x", 1, sum));
  await refused("an upload by tags", not, () => blob.upload("x", 1, tagged));
  await refused("a deletion by tags", not, () => blob.delete(tagged));
  await refused("a lease by tags", not, () => blob.getBlobLeaseClient(A).acquireLease(15, tagged));
  await refused("the deletion of snapshots", not, () => blob.delete({ deleteSnapshots: "only" }));
  await refused("a copy", not, () => container.getBlobClient("copy").beginCopyFromURL(blob.url));
  await refused("a copy at once", not, () => container.getBlobClient("copy").syncCopyFromURL(blob.url));
  const upload = () => container.getBlockBlobClient("copy").syncUploadFromURL(blob.url);
  await refused("an upload from elsewhere", not, upload);
  await refused("a snapshot", not, () => blob.createSnapshot());
  await refused("a lease on the container", not, () => container.getBlobLeaseClient(A).acquireLease(15));
  check("the blob is as it was", (await blob.getProperties()).etag, etag);
  check("and the copy is not there", await container.getBlobClient("copy").exists(), false);
}

async function signatures(service, container) {
  const credential = service.credential;
  const expiresOn = new Date(Date.now() + 3600_000);
  const mismatch = "403 AuthorizationPermissionMismatch";
  await created(container, "signed");
  const by = (sas, name = "signed") => {
    const { url } = container.getBlobClient(name);
    return new BlockBlobClient(`${url}?${sas}`, ANONYMOUS, OPTIONS);
  };
  const ofAccount = (permissions) =>
    generateAccountSASQueryParameters(
      {
        expiresOn,
        permissions: AccountSASPermissions.parse(permissions),
        resourceTypes: AccountSASResourceTypes.parse("o").toString(),
        services: AccountSASServices.parse("b").toString(),
      },
      credential,
    );
  const ofContainer = (letters) => {
    const permissions = ContainerSASPermissions.parse(letters);
    return generateBlobSASQueryParameters({ containerName: CONTAINER, permissions, expiresOn }, credential);
  };
  const ofBlob = (letters) => {
    const permissions = BlobSASPermissions.parse(letters);
    const names = { containerName: CONTAINER, blobName: "signed" };
    return generateBlobSASQueryParameters({ ...names, permissions, expiresOn }, credential);
  };

  const sorts = { "an account's": ofAccount, "a container's": ofContainer, "a blob's": ofBlob };
  for (const [sort, make] of Object.entries(sorts)) {
    const signed = by(make("rw"));
    const lease = signed.getBlobLeaseClient(A);
    await lease.acquireLease(15);
    await lease.renewLease();
    await signed.setMetadata({ by: sort }, { conditions: { leaseId: A } });
    check(`${sort} signature locks`, await leaseOf(signed), ["leased", "locked", "fixed"]);
    await lease.releaseLease();
    await refused(`${sort} signature does not delete`, mismatch, () => signed.delete());
  }
  const failed = "403 AuthenticationFailed";
  const elsewhere = by(ofBlob("w"), "job").getBlobLeaseClient(A);
  await refused("a blob's signature on another blob", failed, () => elsewhere.acquireLease(15));
  const read = ofBlob("r").toString();
  check("a reader's signature reads", (await by(read).downloadToBuffer()).toString(), "");
  const reader = by(read).getBlobLeaseClient(A);
  await refused("a reader's signature locks nothing", mismatch, () => reader.acquireLease(15));
  const altered = by(read.replace("sp=r", "sp=rw")).getBlobLeaseClient(A);
  await refused("an altered signature", failed, () => altered.acquireLease(15));
  const other = new ContainerClient(`${container.url}-2?${ofAccount("wc")}`, ANONYMOUS, OPTIONS);
  await refused("objects' rights make no container", "403 AuthorizationResourceTypeMismatch", () => other.create());
  const wrong = new StorageSharedKeyCredential(service.accountName, "d3Jvbmc=");
  const stranger = new BlobClient(container.getBlobClient("signed").url, wrong, OPTIONS).getBlobLeaseClient(A);
  await refused("a wrong key", failed, () => stranger.acquireLease(15));
  await advance(2 * 3600);
  await refused("a signature that has expired", failed, () => by(read).getProperties());
}

async function theEnd(container) {
  await container.getBlobClient("job").getBlobLeaseClient(A).acquireLease(60);
  await container.delete();
  check("a container that was deleted", await container.exists(), false);
  await refused("its creation at once", "409 ContainerBeingDeleted", () => container.create());
  await advance(30);
  await container.create();
  check("its creation later", await container.exists());
  check("it is empty", await container.getBlobClient("job").exists(), false);
  await container.delete();
}

async function main() {
  const service = BlobServiceClient.fromConnectionString(process.argv[2], OPTIONS);
  const container = service.getContainerClient(CONTAINER);
  for (const part of [containers, blobs, leases, breaks, expiry, protection, conditions, unknown]) {
    await part(container);
  }
  await listings(service);
  await signatures(service, container);
  await theEnd(container);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(`FAILED: ${error.stack}`);
    process.exit(1);
  },
);
