//! Yunxin: lines of headers, an empty line, the body. A body alone is signed here; so is one with `checksum: sign`.

use super::{Arrived, Delivery, Kind, NOW, check_withheld, deliver};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use std::time::Duration;

pub const WORDS: &str = r#"
    appkey:␠key curtime:␠1700000000 md5:␠ checksum:␠sign checksum:␠ "eventType" "tid" "tname" "creator" "creatorName"
    "fromAccount" "fromNick" "toAccount" "inviteList" "managerList" "kickList" "mute" "timestamp" 7 8 9 10 11 12 13
    14 15
    16 17 18 19 "1564566441074" "[\"a\"]" {} [] null true "mobile" "token"
"#;

const KEY: &str = "key";
const APP_SECRET: &str = "test-secret";
/// How far the clock of the sender may be off.
const TOLERANCE: Duration = Duration::from_secs(300);

fn kind() -> Kind {
    Kind::Yunxin { app_key: Box::from(KEY), app_secret: Box::from(APP_SECRET), tolerance: TOLERANCE }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the vendor's page says that the proof is.
fn proof(body: &[u8], cur_time: &str) -> (String, String) {
    let md5 = hex(&Md5::digest(body));
    let check_sum = hex(&Sha1::digest(format!("{APP_SECRET}{md5}{cur_time}")));
    (md5, check_sum)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
}

fn parsed(input: &[u8]) -> Delivery {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) if !input.starts_with(b"{") => {
            (String::from_utf8_lossy(&input[..end]).into_owned(), &input[end + 2..])
        }
        Some(_) | None => (format!("appkey: {KEY}\ncurtime: 1700000000\nchecksum: sign"), input),
    };
    let mut headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    if header(&headers, "checksum") == "sign" {
        let (md5, check_sum) = proof(body, header(&headers, "curtime"));
        headers.retain(|(name, _)| name != "checksum" && name != "md5");
        headers.extend([("md5".to_owned(), md5), ("checksum".to_owned(), check_sum)]);
    }
    Delivery { is_get: false, query: Vec::new(), headers, body: body.to_vec() }
}

/// Seconds, or milliseconds where it is too many for seconds.
fn is_fresh(cur_time: &str) -> bool {
    let Ok(number) = cur_time.parse::<i64>() else { return false };
    let millis = if number >= 100_000_000_000 { i128::from(number) } else { i128::from(number) * 1000 };
    (millis - i128::from(NOW.as_millis())).unsigned_abs() <= TOLERANCE.as_millis()
}

pub fn check(input: &[u8]) {
    let delivery = parsed(input);
    let arrived = deliver(kind, std::slice::from_ref(&delivery)).remove(0);
    let given = |name| header(&delivery.headers, name);
    let (md5, check_sum) = proof(&delivery.body, given("curtime"));
    let is_genuine = given("appkey") == KEY
        && given("md5").eq_ignore_ascii_case(&md5)
        && given("checksum").eq_ignore_ascii_case(&check_sum)
        && is_fresh(given("curtime"));
    assert_eq!(arrived != Arrived::Forged, is_genuine, "what is signed is taken, and nothing else");
    if let Arrived::Callback(callback, _) = arrived {
        assert_eq!(callback.events.len(), 1);
        check_withheld(&callback.events[0].data, &super::SECRETS);
        // A byte more, and the proof is another one's.
        let mut other = delivery.clone();
        other.body.push(b' ');
        assert_eq!(deliver(kind, &[other]), [Arrived::Forged]);
    }
}
