//! Faults on order over HTTP, and a summary of the ledger. Pure.
//!
//! `POST /sandbox/fault` with `{"faults":[{"act":"status","status":503,"retryAfter":"5","probability":0.1}]}`; an empty
//! list ends all faults. `{"faults":[{"callback":{"lateMs":5000,"copies":2}}]}` is about the callback alone.

use super::callback::{Report, When};
use super::faults::{Act, Behaviour, Faults, Rule};
use super::ledger::{Ledger, MessageEntry};
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
    /// Left out with a callback: the answer of a send that worked.
    act: Option<RawAct>,
    callback: Option<RawReport>,
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

/// How the callback about the message differs from the usual one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawReport {
    late_ms: Option<u64>,
    #[serde(default)]
    early: bool,
    #[serde(default)]
    out_of_order: bool,
    #[serde(default)]
    held: bool,
    #[serde(default)]
    never: bool,
    copies: Option<u32>,
    error_code: Option<i64>,
    error_message: Option<Box<str>>,
    send_msg_id: Option<bool>,
    is_open_api: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawAct {
    Answer,
    Code,
    TooFrequent,
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
    if raw.act.is_none() && raw.callback.is_none() {
        return Err("name an act, a callback, or both");
    }
    let act = match raw.act.unwrap_or(RawAct::Answer) {
        RawAct::Answer => Act::Answer,
        RawAct::TooFrequent => Behaviour::too_frequent().act,
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
    let report = raw.callback.map_or(Ok(Report::USUAL), report)?;
    // What its callback calls failed did not reach anybody, unless the order says so.
    let effect = raw.effect.unwrap_or(matches!(act, Act::Answer) && report.error.is_none());
    let behaviour = Behaviour { delay: Duration::from_millis(raw.delay_ms), effect, act, report };
    Ok(Rule { behaviour, probability, account: raw.account, times: raw.times })
}

fn report(raw: RawReport) -> Result<Report, &'static str> {
    let late = raw.late_ms.map(|millis| When::After(Duration::from_millis(millis)));
    let named = [
        late,
        raw.early.then_some(When::Early),
        raw.out_of_order.then_some(When::AfterNext),
        raw.held.then_some(When::Held),
        raw.never.then_some(When::Never),
    ];
    let mut named = named.into_iter().flatten();
    let when = named.next().unwrap_or(Report::USUAL.when);
    if named.next().is_some() {
        return Err("a callback is only one of lateMs, early, outOfOrder, held and never");
    }
    let copies = raw.copies.unwrap_or(1);
    if !(1..=COPIES_MAX).contains(&copies) {
        return Err("copies of a callback must be between 1 and 100");
    }
    let error = raw.error_code.filter(|code| *code != 0).map(|code| (code, raw.error_message.unwrap_or_default()));
    let is_open_api = raw.is_open_api.or(Report::USUAL.is_open_api);
    Ok(Report { when, copies, error, has_id: raw.send_msg_id.unwrap_or(true), is_open_api })
}

const COPIES_MAX: u32 = 100;

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
        "callbacks": {
            "made": ledger.callbacks.made,
            "delivered": ledger.callbacks.delivered,
            "refused": ledger.callbacks.refused,
            "givenUp": ledger.callbacks.given_up,
            "retries": ledger.callbacks.retries,
        },
    })
    .to_string()
}

/// Each request that was seen, as `sendbridge audit --ledger` takes it.
pub fn requests(ledger: &Ledger) -> String {
    let seen = |entry: &MessageEntry| serde_json::json!({ "arrivals": entry.arrivals, "effects": entry.effects });
    let requests: serde_json::Map<String, serde_json::Value> =
        ledger.requests.iter().map(|(id, entry)| (id.to_string(), seen(entry))).collect();
    serde_json::json!({ "requests": requests }).to_string()
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
        assert_eq!(
            rules(r#"{"faults":[{"act":"tooFrequent"}]}"#),
            Ok(vec![Rule::always(Behaviour::code(-1_000_999, "Abnormal request frequency"))])
        );
        assert_eq!(rules(r#"{"faults":[]}"#), Ok(vec![]));
    }

    #[test]
    fn a_callback_is_ordered_with_an_act_or_alone() {
        let silent = Behaviour::despite(Act::Silence).reported(Report::late(Duration::from_secs(5)));
        assert_eq!(
            rules(r#"{"faults":[{"act":"silence","effect":true,"callback":{"lateMs":5000}}]}"#),
            Ok(vec![Rule::always(silent)])
        );
        let failed = Behaviour::undelivered(-1_000_999, "Abnormal request frequency");
        assert_eq!(
            rules(
                r#"{"faults":[{"callback":{"errorCode":-1000999,"errorMessage":"Abnormal request frequency"},"times":1}]}"#
            ),
            Ok(vec![Rule::always(failed).times(1)])
        );
        let odd = Report { has_id: false, is_open_api: Some(false), ..Report::twice() };
        let table = [
            (r#"{"copies":2,"sendMsgId":false,"isOpenApi":false}"#, odd),
            (r#"{"early":true}"#, Report::when(When::Early)),
            (r#"{"outOfOrder":true}"#, Report::when(When::AfterNext)),
            (r#"{"held":true}"#, Report::when(When::Held)),
            (r#"{"never":true,"errorCode":0}"#, Report::when(When::Never)),
        ];
        for (written, report) in table {
            let order = format!(r#"{{"faults":[{{"callback":{written}}}]}}"#);
            assert_eq!(rules(&order), Ok(vec![Rule::always(Behaviour::answer().reported(report))]), "{written}");
        }
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
            (r#"{"faults":[{"times":1}]}"#, "faults[0]: name an act, a callback, or both"),
            (r#"{"faults":[{"callback":{"early":true,"never":true}}]}"#, "faults[0]: a callback is only one of"),
            (r#"{"faults":[{"callback":{"copies":0}}]}"#, "faults[0]: copies of a callback must be"),
            (r#"{"faults":[{"callback":{"late":1}}]}"#, "not an order of faults: unknown field"),
            ("", "not an order of faults: EOF"),
        ];
        for (body, expected) in table {
            let refusal = rules(body).expect_err(body);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
