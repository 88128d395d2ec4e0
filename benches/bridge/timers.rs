//! A program that only keeps the accounts' interval: a task for each account, which sends, waits for the answer,
//! sleeps for the interval and sends again. No broker, no journal, nothing decided. How late it is tells how late this
//! machine is with this sender, this many timers and a common HTTP client: a scale, and no bound, because a client can
//! be cheaper.

use crate::ACCOUNTS;
use crate::accuracy::INTERVAL;
use crate::load::{self, Who};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Requests at once, as the others have.
const REQUESTS_MAX: usize = 256;
/// What the bridge adds to an interval so that none is too short for the receiver.
const GUARD: Duration = Duration::from_millis(1);

/// Runs until the process is ended. `url` is where the sender's API begins. Accounts begin one after the other `over`
/// so long.
pub fn run(url: &str, over: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let url: Arc<str> = Arc::from(format!("{url}/msg/text"));
    runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client");
        let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
        let begun = Instant::now();
        for account in 0..ACCOUNTS {
            let (http, url, slots) = (http.clone(), Arc::clone(&url), Arc::clone(&slots));
            tokio::spawn(async move {
                tokio::time::sleep_until((begun + over * account / ACCOUNTS).into()).await;
                loop {
                    let request = http.post(&*url).header("apikey", "key").header("content-type", "application/json");
                    let slot = slots.acquire().await.expect("never closed");
                    let answer = request.body(load::message("timers", account.into(), Who::All)).send().await;
                    answer.expect("an answer").bytes().await.expect("its body");
                    let due = Instant::now() + INTERVAL + GUARD;
                    drop(slot);
                    tokio::time::sleep_until(due.into()).await;
                }
            });
        }
        std::future::pending::<()>().await;
    });
}
