//! What the demo says at its end. Pure.

use super::judge::Findings;
use std::fmt::Write;
use std::time::Duration;

/// The figures with what they mean, and the judgement.
pub fn summary(findings: &Findings, took: Duration) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_figures(&mut text, findings, took);
    if findings.broken.is_empty() {
        text.push_str("\nPromises held: yes\n");
    } else {
        text.push_str("\nPromises held: NO\n");
        for broken in &findings.broken {
            let _ = writeln!(text, "  broken: {broken}");
        }
    }
    text
}

fn write_figures(text: &mut String, findings: &Findings, took: Duration) -> std::fmt::Result {
    let line = |text: &mut String, name: &str, figure: &str, meaning: &str| {
        writeln!(text, "  {name:<22}{figure:>9}  {meaning}")
    };
    let number =
        |text: &mut String, name: &str, figure: usize, meaning: &str| line(text, name, &figure.to_string(), meaning);
    writeln!(
        text,
        "\nWhat happened in {:.0} s, from the answers and from what the pretend sender saw:\n",
        took.as_secs_f64()
    )?;
    number(text, "published", findings.published, "different messages, over MQTT")?;
    number(text, "answered sent", findings.sent, "confirmed by the sender, with its msgId")?;
    number(text, "answered not sent", findings.not_sent_total(), "proven never sent; the answer says why:")?;
    for (code, count) in &findings.not_sent {
        number(text, &format!("  {code}"), *count, meaning_of(code))?;
    }
    let arrived = format!("UNRESOLVED: nobody can know ({} arrived)", findings.in_doubt_arrived);
    number(text, "answered in doubt", findings.in_doubt, &arrived)?;
    number(text, "lost", findings.lost, "published and never answered: must be 0")?;
    number(text, "doubled", findings.doubled, "arrived more than once: must be 0")?;
    number(text, "repeats", findings.repeats, "published again: answered, not sent again")?;
    line(text, "requests", &findings.requests.to_string(), "to the sender, those it turned away included")?;
    let gap = findings.smallest_gap.map_or("-".to_owned(), |gap| format!("{:.1} ms", gap.as_secs_f64() * 1000.0));
    line(text, "smallest gap", &gap, "within one account: must be 500 ms or more")?;
    for (corp, (seen, limit)) in &findings.hours {
        line(
            text,
            &format!("hour of {corp}"),
            &seen.to_string(),
            &format!("requests in one hour: must be {limit} at most"),
        )?;
    }
    Ok(())
}

fn meaning_of(code: &str) -> &'static str {
    match code {
        "REFUSED" => "the sender said no, in its own words",
        "EXPIRED" => "no room in its company's hour within its ttl",
        "INVALID_FIELD" => "a field was missing",
        "UNKNOWN_TYPE" => "there is no such type of message",
        "INVALID_JSON" => "it could not be read",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Broken;
    use super::*;

    #[test]
    fn every_line_fits_a_terminal_of_80_columns() {
        let codes = ["REFUSED", "EXPIRED", "INVALID_FIELD", "UNKNOWN_TYPE", "INVALID_JSON"];
        let findings = Findings {
            in_doubt: 5,
            in_doubt_arrived: 3,
            not_sent: codes.map(|code| (Box::from(code), 1)).into(),
            hours: [(Box::from("north-star"), (139, 50_000))].into(),
            smallest_gap: Some(Duration::from_micros(510_049)),
            ..Findings::default()
        };
        for line in summary(&findings, Duration::from_secs(25)).lines() {
            assert!(line.chars().count() < 80, "{line}");
        }
    }

    #[test]
    fn a_broken_promise_is_named() {
        let mut findings = Findings { published: 3, sent: 3, ..Findings::default() };
        let text = summary(&findings, Duration::from_secs(25));
        assert!(text.contains("  published                     3  different"), "{text}");
        assert!(text.ends_with("\nPromises held: yes\n"), "{text}");
        findings.broken.push(Broken::Lost { ids: vec![Box::from("anna-1")] });
        let text = summary(&findings, Duration::from_secs(25));
        assert!(text.ends_with("\nPromises held: NO\n  broken: 1 without an answer: anna-1\n"), "{text}");
    }
}
