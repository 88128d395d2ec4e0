//! Thousands of kills at moments that nobody chose, in lives that are over before they are old: half of them within the
//! first moments, in which they start.

use super::{ACCOUNTS, POLICIES, audit, begin, judge, settle, text};
use crate::bridge::DEADLINE;
use sendbridge::clock::Clock;
use serde_json::json;
use std::time::Duration;

/// A life is killed before it is as old as this.
const OLDEST: Duration = Duration::from_millis(240);
/// And every other one before this.
const YOUNGEST: Duration = Duration::from_millis(30);
/// Messages that are published in each life. The last lives have as many waiting as could not be sent until then.
const MESSAGES: u64 = 2;
/// What more may wait for its answer before a life is let live until less does.
const OPEN_MAX: usize = 200;

/// What so many lives were.
struct Lives {
    messages: u64,
    /// Killed before they listened.
    starting: u64,
}

/// So many lives under a policy, and one more in which everything ends, with the judgement.
async fn lives(policy: &str, kills: u64, mut random: u64) -> Lives {
    let (mut scene, http) = begin(policy, |config| config.with("messages.dedup_window", r#""1m""#)).await;
    let clock = Clock::start();
    let mut lives = Lives { messages: 0, starting: 0 };
    for _ in 0..kills {
        // Xorshift: good enough to be nowhere in particular.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let earlier = scene.bridge.log().len();
        scene.bridge.start_to_end(&[], http);
        let oldest = if random >> 63 == 0 { OLDEST } else { YOUNGEST };
        let age = Duration::from_micros(random % oldest.as_micros() as u64);
        let moment = clock.now() + age;
        for _ in 0..MESSAGES {
            let account = ACCOUNTS[lives.messages as usize % ACCOUNTS.len()];
            let id = format!("{account}-{}", lives.messages);
            scene.publisher.send(text(account, &id, &id)).await;
            lives.messages += 1;
        }
        clock.sleep_until(Some(moment)).await;
        let open = || lives.messages as usize - scene.publisher.look(|seen| seen.answers.len());
        if policy != "hold" && open() > OPEN_MAX {
            scene
                .publisher
                .wait("fewer open messages", |seen| lives.messages as usize - seen.answers.len() <= OPEN_MAX / 2)
                .await;
        }
        assert!(scene.bridge.is_running(), "it ended by itself: {:?}", &scene.bridge.log()[earlier..]);
        scene.bridge.kill();
        lives.starting += u64::from(!scene.bridge.log()[earlier..].iter().any(|line| line.contains("address")));
    }
    scene.bridge.start_again().await;
    let published = usize::try_from(lives.messages).expect("few");
    if policy == "hold" {
        tokio::time::timeout(10 * DEADLINE, settle(&scene, published)).await.expect("all is settled in time");
    }
    scene.publisher.wait("all answers", |seen| seen.answers.len() >= published).await;
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    scene.health().await;
    assert!(scene.bridge.terminate().success());
    judge(&scene.publisher.seen(), &scene.sender.ledger(), policy == "resend");
    let (code, report) = audit(&scene).await;
    assert_eq!((code, &report["held"]), (Some(0), &json!(true)), "{report:#}");
    lives
}

/// As many as `SENDBRIDGE_KILLS` says, under the three policies together.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour, see tests/release"]
async fn kills_by_the_thousand_lose_nothing_and_double_nothing() {
    let kills: u64 = std::env::var("SENDBRIDGE_KILLS").map_or(60, |kills| kills.parse().expect("a number"));
    let each = kills.div_ceil(POLICIES.len() as u64);
    let [report, resend, hold] = POLICIES;
    let (report, resend, hold) =
        tokio::join!(lives(report, each, 0x5eed), lives(resend, each, 0xfeed), lives(hold, each, 0xbead));
    let sum = |what: fn(&Lives) -> u64| [&report, &resend, &hold].into_iter().map(what).sum::<u64>();
    let starting = sum(|lives| lives.starting);
    assert!(starting > 0 && starting < 3 * each, "kills only ever meet a start, or never: {starting} of {}", 3 * each);
    eprintln!("figure: kills = {}, {starting} of them in a start", 3 * each);
    eprintln!("figure: kills-messages = {}", sum(|lives| lives.messages));
    eprintln!("figure: kills-lost-or-doubled-unflagged = 0");
}
