//! A genuine request of Yunxin's, as its page on third-party callbacks describes: the digest of the body, and a check
//! sum over secret, digest and time, both in lower-case hex.

use super::Genuine;
use crate::model::Time;
use bytes::Bytes;
use md5::Md5;
use sha1::{Digest, Sha1};

/// Signs `body` at `at`.
pub fn genuine(app_key: &str, app_secret: &str, at: Time, body: impl Into<Bytes>) -> Genuine {
    let body = body.into();
    let cur_time = at.as_millis().to_string();
    let md5 = hex(&Md5::digest(&body));
    let check_sum = hex(&Sha1::digest(format!("{app_secret}{md5}{cur_time}")));
    let headers = [("AppKey", app_key.to_owned()), ("CurTime", cur_time), ("MD5", md5), ("CheckSum", check_sum)];
    Genuine {
        is_get: false,
        query: String::new(),
        headers: headers.into_iter().chain([("Content-Type", "application/json; charset=utf-8".to_owned())]).collect(),
        body,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_like_the_vendor() {
        let body = r#"{"eventType":8,"fromAccount":"wmtest3","fromClientType":"IOS","fromDeviceId":"4f60d2c0-559d-4b84-8315-29c94d8a4ea8","tid":2637250619,"timestamp":"1564575855993"}"#;
        let made = genuine("key", "test-secret", Time::from_millis(1_564_575_856_000), body);
        let header = |name| made.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert_eq!(header("MD5"), Some("57650fc98ccd7ec966f0fb90ce7bde45"));
        assert_eq!(header("CheckSum"), Some("28195b40a552b08d98874781e25c23adc0e7c3e6"));
        assert_eq!((header("AppKey"), header("CurTime")), (Some("key"), Some("1564575856000")));
        assert_eq!(made.body, body.as_bytes());
        assert_eq!(hex(&Md5::digest("{}")), "99914b932bd37a50b983c5e7c90ae93b");
    }
}
