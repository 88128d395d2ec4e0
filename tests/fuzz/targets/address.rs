//! Addresses: of the broker, as an operator writes it, and of a file, as whoever may send commands writes it.

use super::fault;
use sendbridge::model::{Code, percent_decoded};
use sendbridge::mqtt::BrokerUrl;
use sendbridge::sender::call::fetch::read_address;
use std::net::IpAddr;

pub const WORDS: &str = r#"
    mqtt:// mqtts:// ws:// wss:// tcp:// ssl:// http:// https:// HTTP:// ftp:// [::1] [::ffff:127.0.0.1]
    [fe80::1%25eth0]
    127.0.0.1 10.0.0.1 169.254.169.254 1.1.1.1 localhost 0x7f.1 2130706433 [64:ff9b::7f00:1] [2002:7f00:1::] :1883 :0
    :65536
    @ user:pass@ / // ? # %40 %2f %00 .. \ ; a.png 你 xn--
"#;

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    check_broker(&text);
    check_file(&text);
    assert!(percent_decoded(&text).len() <= 3 * text.len(), "decoding does not blow up");
}

fn check_broker(text: &str) {
    match BrokerUrl::parse(text) {
        Ok(url) => {
            let shown = url.to_string();
            assert_eq!(BrokerUrl::parse(&shown).as_ref(), Ok(&url), "written and read again: {shown}");
            assert!(!shown.contains('@') && !shown.chars().any(|c| c.is_control() || c.is_whitespace()), "{shown:?}");
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.chars().any(char::is_control), "{said:?}");
            // Before an @ there may be a password.
            assert!(!said.contains('@'), "{said}");
        }
    }
}

fn check_file(text: &str) {
    match read_address(text, &[]) {
        Ok(uri) => {
            assert!(matches!(uri.scheme_str(), Some("http" | "https")), "{uri}");
            let host = uri.host().expect("a host");
            assert!(
                !host.is_empty() && !uri.authority().is_some_and(|authority| authority.as_str().contains('@')),
                "{uri}"
            );
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = bare.parse::<IpAddr>() {
                let canonical = address.to_canonical();
                let is_private = match canonical {
                    IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
                    IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
                };
                let is_special = canonical.is_loopback() || canonical.is_unspecified() || canonical.is_multicast();
                assert!(!is_private && !is_special, "it leads to a private network: {uri}");
            }
            assert_eq!(read_address(&uri.to_string(), &[]).as_ref(), Ok(&uri), "written and read again");
        }
        Err(refused) => {
            fault::check(&refused);
            assert!(matches!(refused.code, Code::InvalidField | Code::FileUnavailable), "{refused:?}");
            assert_eq!(refused.field.as_deref(), Some("file.url"));
        }
    }
}
