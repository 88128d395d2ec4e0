//! Faults on order over HTTP, and a summary of the ledger. Pure.
//!
//! `POST /sandbox/fault` with `{"faults":[{"act":"status","status":503,"retryAfter":"5","probability":0.1}]}`; an empty
//! list ends all faults.

use super::faults::{Act, Behaviour, Faults, Rule};
use super::ledger::Ledger;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrder {
    faults: Vec<RawFault>,
}

/// One fault as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawFault {
    act: RawAct,
    /// Whether the message reaches its receiver all the same.
    effect: Option<bool>,
    #[serde(default)]
    delay_ms: u64,
    status: Option<u16>,
    retry_after: Option<Box<str>>,
    code: Option<i64>,
    msg: Option<Box<str>>,
    probability: Option<f64>,
    account: Option<Box<str>>,
    times: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawAct {
    Answer,
    Code,
    Offline,
    Status,
    Html,
    Cut,
    Silence,
    Reset,
}

/// Why an order of faults was not taken.
#[derive(Debug)]
pub enum OrderError {
    Json(serde_json::Error),
    /// In the fault with this index.
    Field {
        index: usize,
        rule: &'static str,
    },
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not an order of faults: {error}"),
            Self::Field { index, rule } => write!(f, "faults[{index}]: {rule}"),
        }
    }
}

impl std::error::Error for OrderError {}

pub fn parse_faults(body: &[u8]) -> Result<Faults, OrderError> {
    let order: RawOrder = serde_json::from_slice(body).map_err(OrderError::Json)?;
    let mut rules = Vec::with_capacity(order.faults.len());
    for (index, raw) in order.faults.into_iter().enumerate() {
        rules.push(rule(raw).map_err(|rule| OrderError::Field { index, rule })?);
    }
    Ok(if rules.is_empty() { Faults::None } else { Faults::Rules(rules) })
}

fn rule(raw: RawFault) -> Result<Rule, &'static str> {
    let probability = raw.probability.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&probability) {
        return Err("probability must be between 0 and 1");
    }
    let act = match raw.act {
        RawAct::Answer => Act::Answer,
        RawAct::Offline => Behaviour::offline().act,
        RawAct::Code => match raw.code {
            Some(code) if code != 0 => Act::Code { code, msg: raw.msg.unwrap_or_default() },
            Some(_) | None => return Err("act code needs a code that is not 0"),
        },
        RawAct::Status => match raw.status {
            Some(status @ 200..=599) => Act::Status { status, retry_after: raw.retry_after },
            Some(_) | None => return Err("act status needs a status between 200 and 599"),
        },
        RawAct::Html => Act::Html,
        RawAct::Cut => Act::Cut,
        RawAct::Silence => Act::Silence,
        RawAct::Reset => Act::Reset,
    };
    let effect = raw.effect.unwrap_or(matches!(act, Act::Answer));
    let behaviour = Behaviour { delay: Duration::from_millis(raw.delay_ms), effect, act };
    Ok(Rule { behaviour, probability, account: raw.account, times: raw.times })
}

/// The ledger without its histories, as JSON.
pub fn summary(ledger: &Ledger) -> String {
    let millis = |gap: Option<Duration>| gap.map(|gap| gap.as_secs_f64() * 1000.0);
    serde_json::json!({
        "arrivals": ledger.arrivals,
        "effects": ledger.effects,
        "unauthorized": ledger.unauthorized,
        "violations": ledger.violations(),
        "inFlight": ledger.in_flight,
        "inFlightMax": ledger.in_flight_max,
        "messages": ledger.messages.len(),
        "repeated": ledger.repeated().count(),
        "smallestGapMs": millis(ledger.smallest_gap()),
        "largestWindow": ledger.corps.values().map(|corp| corp.largest_window).max(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(body: &str) -> Result<Vec<Rule>, String> {
        match parse_faults(body.as_bytes()) {
            Ok(Faults::Rules(rules)) => Ok(rules),
            Ok(Faults::None) => Ok(Vec::new()),
            Ok(Faults::Script(_)) => Err("a script".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn orders_become_rules() {
        let busy = Behaviour::refuse(Act::Status { status: 503, retry_after: Some(Box::from("5")) });
        assert_eq!(
            rules(r#"{"faults":[{"act":"status","status":503,"retryAfter":"5","probability":0.5}]}"#),
            Ok(vec![Rule::sometimes(0.5, busy)])
        );
        let late = Behaviour::answer().after(Duration::from_millis(200));
        let silent = Behaviour::despite(Act::Silence);
        assert_eq!(
            rules(
                r#"{"faults":[{"act":"answer","delayMs":200,"account":"a"},{"act":"silence","effect":true,"times":2}]}"#
            ),
            Ok(vec![Rule { account: Some(Box::from("a")), ..Rule::always(late) }, Rule::always(silent).times(2)])
        );
        assert_eq!(rules(r#"{"faults":[{"act":"offline"}]}"#), Ok(vec![Rule::always(Behaviour::offline())]));
        assert_eq!(rules(r#"{"faults":[]}"#), Ok(vec![]));
    }

    #[test]
    fn an_order_that_makes_no_sense_says_which_and_why() {
        let table = [
            (r#"{"faults":[{"act":"html"},{"act":"status"}]}"#, "faults[1]: act status needs a status"),
            (r#"{"faults":[{"act":"status","status":99}]}"#, "faults[0]: act status needs a status"),
            (r#"{"faults":[{"act":"code","code":0}]}"#, "faults[0]: act code needs a code"),
            (r#"{"faults":[{"act":"html","probability":1.5}]}"#, "faults[0]: probability must be"),
            (r#"{"faults":[{"act":"dance"}]}"#, "not an order of faults: unknown variant"),
            (r#"{"faults":[{"act":"html","delay":5}]}"#, "not an order of faults: unknown field"),
            ("", "not an order of faults: EOF"),
        ];
        for (body, expected) in table {
            let refusal = rules(body).expect_err(body);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
