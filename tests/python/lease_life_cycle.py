"""The vendor's client against the server whose connection string is the argument: what locks use of the service.

Prints a line for each check, and ends at the first that fails. Where it prints `advance N` it wants the server's
clock to be moved on by so many seconds, and a line on its input when that is done.
"""

import sys
import uuid
from datetime import datetime, timedelta, timezone

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobClient,
    BlobLeaseClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    ResourceTypes,
    StandardBlobTier,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

# No proxy between two programs of one machine, and no second try that would hide a failure.
OPTIONS = {"use_env_settings": False, "retry_total": 0}
A = "aaaaaaaa-1111-4222-8333-444444444444"
B = "bbbbbbbb-1111-4222-8333-444444444444"
CONTAINER = f"python-{uuid.uuid4()}"


def check(what, found, expected=True):
    if found != expected:
        sys.exit(f"FAILED: {what}: {found!r}, not {expected!r}")
    print(f"ok: {what}", flush=True)


def refused(what, expected, call, *args, **kwargs):
    """`expected` is the status and the service's code."""
    try:
        call(*args, **kwargs)
    except HttpResponseError as error:
        code = getattr(error.error_code, "value", error.error_code)
        check(what, f"{error.status_code} {code}", expected)
    else:
        sys.exit(f"FAILED: {what}: not refused")


def advance(seconds):
    print(f"advance {seconds}", flush=True)
    sys.stdin.readline()


def lease_of(blob):
    lease = blob.get_blob_properties().lease
    return lease.state, lease.status, lease.duration


def with_id(blob, lease_id):
    return BlobLeaseClient(blob, lease_id=lease_id)


def containers(service):
    container = service.get_container_client(CONTAINER)
    check("a container that is not there", container.exists(), False)
    refused("its properties", "404 ContainerNotFound", container.get_container_properties)
    refused("a blob in it", "404 ContainerNotFound", container.upload_blob, "job", b"")
    refused("its deletion", "404 ContainerNotFound", container.delete_container)
    container.create_container(metadata={"purpose": "locks"})
    check("a container that was created", container.exists())
    check("its metadata", container.get_container_properties().metadata, {"purpose": "locks"})
    refused("its creation again", "409 ContainerAlreadyExists", container.create_container)
    no_lease = "412 LeaseNotPresentWithContainerOperation"
    refused("its deletion by a lease", no_lease, container.delete_container, lease=A)


def blobs(container):
    blob = container.get_blob_client("a b/é+%2F")
    check("a blob that is not there", blob.exists(), False)
    refused("a lease on it", "404 BlobNotFound", blob.acquire_lease, 15)
    refused("a look at it", "404 BlobNotFound", blob.get_blob_properties)
    refused("its deletion", "404 BlobNotFound", blob.delete_blob)
    blob.upload_blob(b"first", metadata={"owner": "me"})
    check("a blob that was uploaded", blob.exists())
    check("its content", blob.download_blob().readall(), b"first")
    check("a part of it", blob.download_blob(offset=1, length=3).readall(), b"irs")
    check("its name", blob.get_blob_properties().name, "a b/é+%2F")
    refused("an upload over it", "409 BlobAlreadyExists", blob.upload_blob, b"second")
    check("it is as it was", blob.download_blob().readall(), b"first")
    blob.upload_blob(b"third", overwrite=True, content_settings=ContentSettings("text/plain", cache_control="no-store"))
    settings = blob.get_blob_properties().content_settings
    check("its headers", (settings.content_type, settings.cache_control), ("text/plain", "no-store"))
    blob.set_http_headers(ContentSettings(content_language="de"))
    settings = blob.get_blob_properties().content_settings
    check("headers set anew", (settings.cache_control, settings.content_language), (None, "de"))
    check("what was put over it", blob.download_blob().readall(), b"third")
    check("the metadata went with the content", blob.get_blob_properties().metadata, {})
    blob.delete_blob(delete_snapshots="include")
    check("a blob that was deleted", blob.exists(), False)
    blob.upload_blob(b"")
    check("a blob of no content", blob.download_blob().readall(), b"")
    page = container.get_blob_client("page")
    page.create_page_blob(size=0, sequence_number=5)
    check("a counter", page.set_sequence_number("increment")["blob_sequence_number"], 6)
    append = container.get_blob_client("append")
    append.create_append_blob()
    check("an append blob", append.get_blob_properties().blob_type, "AppendBlob")


def leases(container):
    blob = container.get_blob_client("job")
    blob.upload_blob(b"")
    check("a lease that nobody has", lease_of(blob), ("available", "unlocked", None))
    refused("too short a lease", "400 InvalidHeaderValue", blob.acquire_lease, 14)
    lease = blob.acquire_lease(15, lease_id=A)
    check("the proposed id", lease.id, A)
    check("a lease that is held", lease_of(blob), ("leased", "locked", "fixed"))
    check("taken again by its holder", blob.acquire_lease(60, lease_id=A).id, A)
    refused("taken by another", "409 LeaseAlreadyPresent", blob.acquire_lease, 15, lease_id=B)
    refused("taken without an id", "409 LeaseAlreadyPresent", blob.acquire_lease, 15)
    lease.renew()
    check("a renewal", lease.id, A)
    mismatch = "409 LeaseIdMismatchWithLeaseOperation"
    refused("renewed by another", mismatch, with_id(blob, B).renew)
    refused("released by another", mismatch, with_id(blob, B).release)
    lease.change(B)
    check("the id after a change", lease.id, B)
    refused("renewed by the old id", mismatch, with_id(blob, A).renew)
    lease.release()
    check("after the release", lease_of(blob), ("available", "unlocked", None))
    refused("released again", mismatch, with_id(blob, B).release)
    refused("renewed after the release", mismatch, with_id(blob, B).renew)
    refused("broken after the release", "409 LeaseNotPresentWithLeaseOperation", lease.break_lease)
    made_up = blob.acquire_lease(15)
    check("an id of the client's own", str(uuid.UUID(made_up.id)), made_up.id)
    made_up.release()


def breaks(container):
    blob = container.get_blob_client("broken")
    blob.upload_blob(b"")
    lease = blob.acquire_lease(60, lease_id=A)
    left = lease.break_lease(lease_break_period=20)
    check("the time until it is broken", 19 <= left <= 20)
    check("a lease that breaks", lease_of(blob)[:2], ("breaking", "locked"))
    refused("renewed as it breaks", "409 LeaseIsBrokenAndCannotBeRenewed", lease.renew)
    refused("changed as it breaks", "409 LeaseIsBreakingAndCannotBeChanged", lease.change, B)
    refused("taken as it breaks", "409 LeaseIsBreakingAndCannotBeAcquired", blob.acquire_lease, 15, lease_id=A)
    refused("taken by another as it breaks", "409 LeaseAlreadyPresent", blob.acquire_lease, 15, lease_id=B)
    advance(20)
    check("a lease that is broken", lease_of(blob)[:2], ("broken", "unlocked"))
    refused("renewed when broken", "409 LeaseIsBrokenAndCannotBeRenewed", lease.renew)
    second = blob.acquire_lease(-1, lease_id=B)
    check("a lease without an end", lease_of(blob), ("leased", "locked", "infinite"))
    check("broken at once", second.break_lease(lease_break_period=0), 0)
    check("and nobody's", lease_of(blob)[:2], ("broken", "unlocked"))
    second.release()
    check("released when broken", lease_of(blob)[:2], ("available", "unlocked"))


def expiry(container):
    blob = container.get_blob_client("expired")
    blob.upload_blob(b"")
    lease = blob.acquire_lease(15, lease_id=A)
    advance(15)
    check("a lease that ran out", lease_of(blob)[:2], ("expired", "unlocked"))
    lease.renew()
    check("and was renewed, since nobody took it", lease_of(blob)[:2], ("leased", "locked"))
    advance(15)
    blob.acquire_lease(15, lease_id=B)
    refused("renewed after another took it", "409 LeaseIdMismatchWithLeaseOperation", lease.renew)


def protection(container):
    blob = container.get_blob_client("leased")
    blob.upload_blob(b"")
    missing, mismatch = "412 LeaseIdMissing", "412 LeaseIdMismatchWithBlobOperation"
    lease = blob.acquire_lease(15, lease_id=A)
    refused("metadata without the lease", missing, blob.set_blob_metadata, {"owner": "other"})
    refused("metadata with another lease", mismatch, blob.set_blob_metadata, {"owner": "other"}, lease=B)
    blob.set_blob_metadata({"owner": "me", "fence": "17"}, lease=lease)
    check("metadata with the lease", blob.get_blob_properties().metadata, {"owner": "me", "fence": "17"})
    refused("an upload without the lease", missing, blob.upload_blob, b"x", overwrite=True)
    blob.upload_blob(b"mine", overwrite=True, lease=lease)
    check("an upload with the lease", blob.download_blob(lease=lease).readall(), b"mine")
    refused("a look with another lease", mismatch, blob.get_blob_properties, lease=B)
    refused("a deletion without the lease", missing, blob.delete_blob)
    lease.release()
    refused("a deletion with what was let go", "412 LeaseNotPresentWithBlobOperation", blob.delete_blob, lease=A)
    blob.set_blob_metadata({"owner": "anybody"})
    check("metadata when nobody has it", blob.get_blob_properties().metadata, {"owner": "anybody"})


def conditions(container):
    blob = container.get_blob_client("conditional")
    old = blob.upload_blob(b"")["etag"]
    new = blob.set_blob_metadata({"n": "1"})["etag"]
    check("a change of the etag", old != new and blob.get_blob_properties().etag == new)
    unchanged = {"etag": old, "match_condition": MatchConditions.IfNotModified}
    refused("metadata by an old etag", "412 ConditionNotMet", blob.set_blob_metadata, {"n": "2"}, **unchanged)
    refused("an upload by an old etag", "412 ConditionNotMet", blob.upload_blob, b"", overwrite=True, **unchanged)
    refused("a lease by an old etag", "412 ConditionNotMet", blob.acquire_lease, 15, **unchanged)
    refused("a deletion by an old etag", "412 ConditionNotMet", blob.delete_blob, **unchanged)
    unchanged["etag"] = new
    lease = blob.acquire_lease(15, **unchanged)
    check("a lease leaves the etag as it is", blob.get_blob_properties().etag, new)
    changed = unchanged | {"etag": old}
    refused("a renewal by an old etag", "412 ConditionNotMet", lease.renew, **changed)
    lease.renew(**unchanged)
    lease.release(**unchanged)
    blob.set_blob_metadata({"n": "2"}, **unchanged)
    check("metadata by the etag", blob.get_blob_properties().metadata, {"n": "2"})
    since = {"if_modified_since": datetime.now(timezone.utc) + timedelta(hours=1)}
    refused("a write if there was one since", "412 ConditionNotMet", blob.set_blob_metadata, {}, **since)


def listings(service):
    container = service.create_container(f"{CONTAINER}-listed")
    names = ["Job", "a b/é+%2F&<", "job", "x\uffff"]
    for name in names:
        container.upload_blob(name, b"", metadata={"BuildId": "1<2"})
    container.get_blob_client("job").acquire_lease(60)
    container.get_blob_client("Job").acquire_lease(-1)
    check("all names, in order", [blob.name for blob in container.list_blobs()], names)
    pages = container.list_blobs(results_per_page=2, include=["metadata"]).by_page()
    pages = [list(page) for page in pages]
    check("in pages", [[blob.name for blob in page] for page in pages], [names[:2], names[2:]])
    blobs = [blob for page in pages for blob in page]
    check("with their leases", [blob.lease.state for blob in blobs], ["leased", "available", "leased", "available"])
    check("and how long these last", [blob.lease.duration for blob in blobs], ["infinite", None, "fixed", None])
    check("with their metadata", [blob.metadata for blob in blobs], [{"BuildId": "1<2"}] * 4)
    check("with their etags", blobs[2].etag, container.get_blob_client("job").get_blob_properties().etag.strip('"'))
    check("without metadata", [blob.metadata for blob in container.list_blobs()], [{}] * 4)
    check("by a prefix", list(container.list_blob_names(name_starts_with="a b/é")), names[1:2])
    no = "501 NotImplemented"
    refused("a walk by a delimiter", no, lambda: list(container.walk_blobs()))
    refused("a list of snapshots", no, lambda: list(container.list_blobs(include=["snapshots"])))
    refused("a list of containers", no, lambda: list(service.list_containers()))
    container.delete_container()
    refused("a list of what is gone", "404 ContainerNotFound", lambda: list(container.list_blobs()))


def unknown(container):
    """What would be done by half is not done."""
    blob = container.get_blob_client("unknown")
    etag = blob.upload_blob(b"")["etag"]
    no = "501 NotImplemented"
    tagged = {"if_tags_match_condition": "owner = 'me'"}
    again = {"overwrite": True}
    refused("an upload with tags", no, blob.upload_blob, b"x", tags={"owner": "me"}, **again)
    refused("an upload to a tier", no, blob.upload_blob, b"x", standard_blob_tier=StandardBlobTier.COOL, **again)
    refused("an upload with a checksum", no, blob.upload_blob, b"x", validate_content=True, **again)
    refused("an upload by tags", no, blob.upload_blob, b"x", **again, **tagged)
    refused("a look by tags", no, blob.get_blob_properties, **tagged)
    refused("a deletion by tags", no, blob.delete_blob, **tagged)
    refused("a lease by tags", no, blob.acquire_lease, 15, **tagged)
    refused("the deletion of snapshots", no, blob.delete_blob, delete_snapshots="only")
    copy = container.get_blob_client("copy")
    refused("a copy", no, copy.start_copy_from_url, blob.url)
    refused("a copy at once", no, copy.start_copy_from_url, blob.url, requires_sync=True)
    refused("an upload from elsewhere", no, copy.upload_blob_from_url, blob.url)
    refused("a snapshot", no, blob.create_snapshot)
    refused("a lease on the container", no, container.acquire_lease, 15)
    check("the blob is as it was", blob.get_blob_properties().etag, etag)
    check("and the copy is not there", copy.exists(), False)


def signatures(service, container):
    account = {"account_name": service.account_name, "account_key": service.credential.account_key}
    expiry = {"expiry": datetime.now(timezone.utc) + timedelta(hours=1)}
    mismatch = "403 AuthorizationPermissionMismatch"
    blob = container.get_blob_client("signed")
    blob.upload_blob(b"")

    def by(sas, name="signed"):
        return BlobClient(service.url, CONTAINER, name, credential=sas, **OPTIONS)

    def of_account(**permissions):
        objects, permission = ResourceTypes(object=True), AccountSasPermissions(**permissions)
        return generate_account_sas(**account, resource_types=objects, permission=permission, **expiry)

    def of_container(**permissions):
        permission = ContainerSasPermissions(**permissions)
        return generate_container_sas(**account, container_name=CONTAINER, permission=permission, **expiry)

    def of_blob(**permissions):
        names = {"container_name": CONTAINER, "blob_name": "signed"}
        return generate_blob_sas(**account, **names, permission=BlobSasPermissions(**permissions), **expiry)

    for sort, make in {"an account's": of_account, "a container's": of_container, "a blob's": of_blob}.items():
        signed = by(make(read=True, write=True))
        lease = signed.acquire_lease(15)
        lease.renew()
        signed.set_blob_metadata({"by": sort}, lease=lease)
        check(f"{sort} signature locks", lease_of(signed)[:2], ("leased", "locked"))
        lease.release()
        refused(f"{sort} signature does not delete", mismatch, signed.delete_blob)
    def listed(sas):
        return list(ContainerClient(service.url, CONTAINER, credential=sas, **OPTIONS).list_blob_names())

    check("a lister's signature lists", "signed" in listed(of_container(list=True)))
    refused("a reader's and writer's does not", mismatch, listed, of_container(read=True, write=True))
    refused("nor does a blob's", "403 AuthorizationFailure", listed, of_blob(read=True))
    elsewhere = by(of_blob(write=True), "job")
    refused("a blob's signature on another blob", "403 AuthenticationFailed", elsewhere.acquire_lease, 15)
    read = of_blob(read=True)
    check("a reader's signature reads", by(read).download_blob().readall(), b"")
    refused("a reader's signature locks nothing", mismatch, by(read).acquire_lease, 15)
    refused("an altered signature", "403 AuthenticationFailed", by(read.replace("sp=r", "sp=rw")).acquire_lease, 15)
    other = ContainerClient(service.url, f"{CONTAINER}-2", credential=of_account(write=True, create=True), **OPTIONS)
    refused("objects' rights make no container", "403 AuthorizationResourceTypeMismatch", other.create_container)
    wrong = {"account_name": service.account_name, "account_key": "d3Jvbmc="}
    wrong = BlobClient(service.url, CONTAINER, "signed", credential=wrong, **OPTIONS)
    refused("a wrong key", "403 AuthenticationFailed", wrong.acquire_lease, 15)
    advance(2 * 3600)
    refused("a signature that has expired", "403 AuthenticationFailed", by(read).download_blob)


def the_end(container):
    container.get_blob_client("job").acquire_lease(60)
    container.delete_container()
    check("a container that was deleted", container.exists(), False)
    refused("its creation at once", "409 ContainerBeingDeleted", container.create_container)
    advance(30)
    container.create_container()
    check("its creation later", container.exists())
    check("it is empty", container.get_blob_client("job").exists(), False)
    container.delete_container()


def main():
    service = BlobServiceClient.from_connection_string(sys.argv[1], **OPTIONS)
    print(f"ok: asked in the version {service.api_version}", flush=True)
    containers(service)
    container = service.get_container_client(CONTAINER)
    for part in (blobs, leases, breaks, expiry, protection, conditions, unknown):
        part(container)
    listings(service)
    signatures(service, container)
    the_end(container)


if __name__ == "__main__":
    main()
