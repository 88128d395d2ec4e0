//! The topics as those see them who send through the bridge.

use super::Topics;
use super::filter::check_name;

impl Topics {
    /// Where to publish a message so that its answer comes to [`answer`](Self::answer) of `suffix`. `None` when no send
    /// filter has a wildcard for it, or it cannot be one level of a topic.
    pub fn send_to(&self, suffix: &str) -> Option<String> {
        if suffix.is_empty() || suffix.contains('/') {
            return None;
        }
        let stem = self.send.iter().find_map(|filter| filter.stem())?;
        let topic = format!("{stem}{suffix}");
        check_name(&topic).ok().map(|()| topic)
    }

    /// Where a command goes.
    pub fn request(&self, command: &str) -> String {
        format!("{}/request/{command}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::topics::Incoming;

    #[test]
    fn what_is_sent_comes_back_with_its_suffix() {
        let send = ["SendMessage".to_owned(), "SendMessage/+".to_owned()];
        let topics = Topics::new(&send, "SendMessageResp", "sendbridge", &[]).expect("topics");
        let topic = topics.send_to("list").expect("a topic");
        assert_eq!(topics.classify(&topic), Incoming::Send { suffix: Some("list") });
        assert_eq!(topics.classify(&topics.request("message/get")), Incoming::Command { name: "message/get" });
        for wrong in ["", "a/b", "+", "a#", "\0"] {
            assert_eq!(topics.send_to(wrong), None, "{wrong:?}");
        }
        let bare = Topics::new(&send[..1], "SendMessageResp", "sendbridge", &[]).expect("topics");
        assert_eq!(bare.send_to("list"), None);
    }
}
