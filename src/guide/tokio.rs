use std::error::Error;
use std::time::Duration;

use azmutex::emulator::Emulator;
use azmutex::{Cancel, Container, ErrorKind, Locker};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

fn main() -> Result<(), Box<dyn Error>> {
    let emulator = Emulator::start()?;
    let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
    let locker = container.locker("nightly-report")?;
    // One thread: whoever blocked it would stop everything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        blocking_work(locker.clone()).await?;
        asynchronous_work(locker).await
    })
}

async fn blocking_work(locker: Locker) -> Result<(), Box<dyn Error>> {
    let length = spawn_blocking(move || locker.with(|guard| guard.lock_name().len())).await??;
    println!("worked with a name of {length}");
    Ok(())
}

async fn asynchronous_work(locker: Locker) -> Result<(), Box<dyn Error>> {
    let waiter = locker.clone();
    let guard = spawn_blocking(move || locker.lock()).await??;
    for _ in 0..3 {
        guard.ensure_held()?;
        sleep(Duration::from_millis(10)).await;
    }

    // Somebody else waits, and gives up. Meanwhile the runtime goes on.
    let cancel = Cancel::new();
    let waits = cancel.clone();
    let wait = tokio::spawn(spawn_blocking(move || waiter.lock_or_cancel(&waits).map(drop)));
    sleep(Duration::from_millis(100)).await;
    cancel.cancel();
    let error = wait.await??.err().ok_or("two at a time")?;
    assert_eq!(error.kind(), ErrorKind::Cancelled);

    guard.ensure_held()?;
    spawn_blocking(move || guard.unlock()).await??;
    println!("worked asynchronously");
    Ok(())
}
