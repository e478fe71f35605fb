//! The vendor's Rust client, as one of the benchmark's programs: see `clients.rs`.
//!
//! Its argument is the blob's URL, with a signature, as it has no Shared Key. It locks, says when, and what it had computed
//! by then, both in nanoseconds; and for each number on its input it makes so many pairs, and says what it computed for
//! them.

use std::error::Error;
use std::io;

use azure_core::http::Url;
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::BlobClientAcquireLeaseResultHeaders;
use rustix::time::{ClockId, clock_gettime};

fn clock(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

async fn acquire(blob: &BlobClient) -> Result<String, Box<dyn Error>> {
    Ok(blob.acquire_lease(30, None).await?.lease_id()?.ok_or("no lease id")?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("no URL")?;
    let blob = BlobClient::new(Url::parse(&url)?, None, None)?;
    let lease = acquire(&blob).await?;
    println!("{} {}", clock(ClockId::Monotonic), clock(ClockId::ProcessCPUTime));
    blob.release_lease(lease, None).await?;
    for line in io::stdin().lines() {
        let before = clock(ClockId::ProcessCPUTime);
        for _ in 0..line?.parse::<u32>()? {
            let lease = acquire(&blob).await?;
            blob.release_lease(lease, None).await?;
        }
        println!("{}", clock(ClockId::ProcessCPUTime) - before);
    }
    Ok(())
}
