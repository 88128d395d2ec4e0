//! How the sandbox's bridge and pretend sender find each other for callbacks. What looks like a secret is none: it
//! guards nothing, and is the same in every sandbox.

use crate::cli::pretend::callback::{Others, Wecom, WecomSide, Yunxin};
use std::net::SocketAddr;

const SECRET: &str = "pretend-callbacks";
const YUNXIN_KEY: &str = "pretend-app-key";
const YUNXIN_SECRET: &str = "pretend-app-secret";
const WECOM_TOKEN: &str = "pretend-token";
/// 43 letters and digits, as every `EncodingAESKey`.
const WECOM_KEY: &str = "pretendpretendpretendpretendpretendpretend0";
const WECOM_RECEIVER: &str = "pretend-suite";

/// The part of a bridge's configuration that takes the callbacks of quntool's form.
pub fn section() -> String {
    format!("[[callbacks]]\nname = \"pretend\"\nsender = \"pretend\"\nsecret = \"{SECRET}\"\n")
}

/// The part that takes all of them.
pub fn sections() -> String {
    let head = |kind| format!("[[callbacks]]\nname = \"{kind}\"\nkind = \"{kind}\"\nsecret = \"{SECRET}\"\n");
    format!(
        "{}\n{}\n{}app_key = \"{YUNXIN_KEY}\"\napp_secret = \"{YUNXIN_SECRET}\"\n\n\
         {}token = \"{WECOM_TOKEN}\"\naes_key = \"{WECOM_KEY}\"\nreceivers = [\"{WECOM_RECEIVER}\"]\n",
        section(),
        head("guid"),
        head("yunxin"),
        head("wecom"),
    )
}

/// Where the bridge that listens at `bridge` takes the callbacks of `source`.
pub fn url(bridge: SocketAddr, source: &str) -> String {
    format!("http://{bridge}/callback/{source}/{SECRET}")
}

/// The other systems, so that they reach the bridge that listens at `bridge`.
pub fn others(bridge: SocketAddr) -> Others {
    let url = |source| url(bridge, source).into_boxed_str();
    let side = WecomSide::new(WECOM_TOKEN, WECOM_KEY, WECOM_RECEIVER);
    Others {
        yunxin: Some(Yunxin {
            url: url("yunxin"),
            app_key: Box::from(YUNXIN_KEY),
            app_secret: Box::from(YUNXIN_SECRET),
        }),
        wecom: side.map(|side| Wecom { url: url("wecom"), side }),
        guid: Some(url("guid")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::workbench::{self, Bench};
    use std::path::Path;

    #[test]
    fn the_sections_are_what_a_bridge_takes() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let bench = Bench { broker: address, sender_url: "http://h", http: address, journal: Path::new("j") };
        let all = workbench::configuration(&bench, "", &sections()).expect("a configuration");
        assert_eq!(all.callbacks.len(), 4);
        let one = workbench::configuration(&bench, "", &section()).expect("a configuration");
        assert_eq!(one.callbacks.len(), 1);
        let others = others(address);
        assert!(others.yunxin.is_some() && others.wecom.is_some() && others.guid.is_some());
    }
}
