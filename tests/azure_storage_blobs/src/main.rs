//! The old Rust client of the service against the emulator in the box: a lock's life, as programs lead it that use the
//! client themselves. Ends at the first answer that is not as it should be.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use azmutex::emulator::Emulator;
use azure_core::error::HttpError;
use azure_core::prelude::{LeaseId, Metadata};
use azure_storage::{CloudLocation, StorageCredentials};
use azure_storage_blobs::prelude::*;

const LEASE: Duration = Duration::from_secs(15);
const B: &str = "bbbbbbbb-1111-4222-8333-444444444444";
const MISMATCH: &str = "409 LeaseIdMismatchWithLeaseOperation";

fn check<T: PartialEq + Debug>(what: &str, found: T, expected: T) {
    assert_eq!(found, expected, "{what}");
    println!("ok: {what}");
}

/// `expected` is the status and the service's code.
fn refused<T>(what: &str, expected: &str, outcome: azure_core::Result<T>) {
    let Err(error) = outcome else { panic!("{what}: not refused") };
    let answer = error.downcast_ref::<HttpError>().unwrap_or_else(|| panic!("{what}: {error:?}"));
    let code = answer.error_code().unwrap_or_default();
    check(what, format!("{} {code}", answer.status() as u16), expected.to_owned());
}

async fn lease_of(blob: &BlobClient) -> (String, String) {
    let properties = blob.get_properties().await.expect("a look").blob.properties;
    let told = |part: Option<String>| part.expect("a header");
    (
        told(properties.lease_state.map(|state| state.to_string())),
        told(properties.lease_status.map(|status| status.to_string())),
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let emulator = Emulator::start().expect("a port");
    let location = CloudLocation::Emulator { address: "127.0.0.1".to_owned(), port: emulator.port() };
    let credentials = StorageCredentials::emulator();
    let container = ClientBuilder::with_location(location, credentials).container_client("locks");
    let blob = container.blob_client("team a/job");
    let is = |state: &str, status: &str| (state.to_owned(), status.to_owned());

    check("no container", container.exists().await.expect("a look"), false);
    container.create().await.expect("a container");
    refused("the container again", "409 ContainerAlreadyExists", container.create().await);
    refused("a lease on no blob", "404 BlobNotFound", blob.acquire_lease(LEASE).await);
    blob.put_block_blob("").await.expect("a blob");
    check("a lease that nobody has", lease_of(&blob).await, is("available", "unlocked"));

    let acquired = blob.acquire_lease(LEASE).await.expect("a lease");
    check("a lease that is held", lease_of(&blob).await, is("leased", "locked"));
    refused("taken by another", "409 LeaseAlreadyPresent", blob.acquire_lease(LEASE).await);
    let lease = blob.blob_lease_client(acquired.lease_id);
    check("a renewal", lease.renew().await.expect("a renewal").lease_id, acquired.lease_id);
    let other = blob.blob_lease_client(LeaseId::from_str(B).expect("an id"));
    refused("renewed by another", MISMATCH, other.renew().await);
    refused("released by another", MISMATCH, other.release().await);

    refused("metadata without the lease", "412 LeaseIdMissing", blob.set_metadata().await);
    let mut metadata = Metadata::new();
    metadata.insert("owner", "me");
    blob.set_metadata().metadata(metadata).lease_id(lease.lease_id()).await.expect("metadata with the lease");
    let owner = blob.get_metadata().await.expect("metadata").metadata.get("owner");
    check("metadata with the lease", owner.map(|owner| owner.to_vec()), Some(b"me".to_vec()));
    refused("a deletion without the lease", "412 LeaseIdMissing", blob.delete().await);

    let changed = lease.change(other.lease_id().into()).await.expect("a change");
    check("the id after a change", changed.lease_id, other.lease_id());
    refused("renewed by the old id", MISMATCH, lease.renew().await);
    other.release().await.expect("a release");
    check("after the release", lease_of(&blob).await, is("available", "unlocked"));
    refused("renewed after the release", MISMATCH, other.renew().await);

    let first = blob.acquire_lease(LEASE).await.expect("a lease");
    emulator.advance(LEASE);
    check("a lease that ran out", lease_of(&blob).await, is("expired", "unlocked"));
    blob.acquire_lease(LEASE).await.expect("what ran out");
    refused("renewed after another took it", MISMATCH, blob.blob_lease_client(first.lease_id).renew().await);
    let breaking = blob.break_lease().lease_break_period(Duration::from_secs(5)).await.expect("a break");
    check("the time until it is broken", breaking.lease_time, 5);
    check("a lease that breaks", lease_of(&blob).await, is("breaking", "locked"));
    emulator.advance(Duration::from_secs(5));
    check("a lease that is broken", lease_of(&blob).await, is("broken", "unlocked"));

    let copied = container.blob_client("copy").copy(blob.url().expect("a URL")).await;
    refused("a copy", "501 NotImplemented", copied);
    let deleted = blob.delete().await.expect("a deletion");
    check("the deletion is for good", deleted.delete_type_permanent, true);
    check("a blob that was deleted", blob.exists().await.expect("a look"), false);
    container.delete().await.expect("the container's deletion");
    check("a container that was deleted", container.exists().await.expect("a look"), false);
}
