//! A journal that a real bridge wrote, replayed.

use super::{Scene, output, program, read};
use serde_json::Value;
use std::time::Duration;

fn simulate(scene: &Scene, arguments: &[&str]) -> Value {
    let journal = scene.bridge.path("journal.db");
    let mut command = program();
    command.args(["simulate", "--json", "--compare", "--journal"]).arg(journal).args(arguments);
    let (code, report, said) = read(output(command.spawn().expect("the program")));
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&report).expect("JSON")
}

fn millis(figures: &Value, name: &str) -> u64 {
    let text = figures[name].as_str().unwrap_or_else(|| panic!("no {name}: {figures}"));
    sendbridge::model::Time::parse_rfc3339(text).expect("a time").as_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_limits_give_the_same_times_and_others_give_others() {
    const SLOT_MS: u64 = 500;
    let scene =
        Scene::start(3, Duration::from_millis(40), |config| config.with("limits.account_interval", r#""500ms""#)).await;
    scene.write_list("list.csv", 21, 3);
    let (code, _, said) = scene.sent(&["--file", "list.csv"]);
    assert_eq!(code, Some(0), "{said}");

    // Beside the running bridge.
    let report = simulate(&scene, &["--account-interval", "500ms"]);
    assert_eq!((&report["would"]["total"]["sent"], &report["happened"]["total"]["sent"]), (&21.into(), &21.into()));
    for name in ["account-0", "account-1", "account-2"] {
        let (would, really) = (&report["would"]["accounts"][name], &report["happened"]["accounts"][name]);
        assert_eq!(would["messages"], really["messages"]);
        let apart = millis(would, "drainedAt").abs_diff(millis(really, "drainedAt"));
        assert!(apart <= SLOT_MS, "{name}: {apart} ms apart: {would} {really}");
        for figure in ["waitP50", "waitMax"] {
            let apart = (would[figure].as_f64().expect("a wait") - really[figure].as_f64().expect("a wait")).abs();
            assert!(apart <= SLOT_MS as f64 / 1e3, "{name}: {figure} {apart} s apart: {would} {really}");
        }
        assert!(would["smallestGap"].as_f64().is_some_and(|gap| (0.5..0.51).contains(&gap)), "{would}");
    }
    assert_eq!(report["would"]["corps"]["corp"]["largestHour"], 21);

    // Seven messages of each account, ten seconds apart.
    let slower = simulate(&scene, &["--account-interval", "10s", "--answer-time", "0s"]);
    let would = &slower["would"]["total"];
    let took = millis(would, "drainedAt") - millis(would, "first");
    assert!((60_000..61_500).contains(&took), "{took} ms: {would}");
    // An hour of eight places: the rest goes in the next ones.
    let smaller = simulate(&scene, &["--corp-per-hour", "8", "--corp-reserve", "0%"]);
    let corp = &smaller["would"]["corps"]["corp"];
    assert_eq!((corp["largestHour"].as_u64(), corp["sent"].as_u64()), (Some(8), Some(21)), "{corp}");
    assert_eq!((millis(corp, "drainedAt") - millis(corp, "first")) / 3_600_000, 2, "{corp}");
    assert_eq!(smaller, simulate(&scene, &["--corp-per-hour", "8", "--corp-reserve", "0%"]), "the same again");

    let mut command = program();
    command.args(["simulate", "--compare", "--top", "1", "--journal"]).arg(scene.bridge.path("journal.db"));
    let (code, table, _) = read(output(command.spawn().expect("the program")));
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("company \"corp\"") && table.contains("  really"), "{table}");
    assert!(table.contains("… and 2 accounts"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_journal_is_told() {
    let missing = program().args(["simulate", "--journal", "/nonexistent/x.db"]).output().expect("the program");
    assert_eq!(missing.status.code(), Some(70));
    let wrong = program().args(["simulate", "--journal", "x", "--corp-reserve", "lots"]).output().expect("the program");
    assert_eq!(wrong.status.code(), Some(78));
}
