use super::senders::{name, sender_of};
use crate::config::ReadFile;
use crate::config::files;
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::{Callback, CallbackKind, CallbackOf, Secret, Sender, choices};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// Shorter could be guessed, and a forged "it was sent" is a lost message.
const SECRET_LENGTH_LEAST: usize = 16;
/// What WeCom calls `EncodingAESKey`.
const AES_KEY_LENGTH: usize = 43;
const TOLERANCE: Duration = Duration::from_secs(300);
const TOLERANCE_MOST: Duration = Duration::from_secs(86_400);

/// Keys that only some kinds have.
const OWN: [(&str, &[CallbackKind]); 10] = [
    ("sender", &[CallbackKind::Quntool]),
    ("app_key", &[CallbackKind::Yunxin]),
    ("app_secret", &[CallbackKind::Yunxin]),
    ("app_secret_file", &[CallbackKind::Yunxin]),
    ("tolerance", &[CallbackKind::Yunxin, CallbackKind::Wecom]),
    ("token", &[CallbackKind::Wecom]),
    ("token_file", &[CallbackKind::Wecom]),
    ("aes_key", &[CallbackKind::Wecom]),
    ("aes_key_file", &[CallbackKind::Wecom]),
    ("receivers", &[CallbackKind::Wecom]),
];

pub(super) fn callbacks(
    root: &Section<'_>,
    senders: &[Sender],
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Vec<Callback> {
    let mut found: Vec<Callback> = Vec::new();
    for section in root.sections("callbacks") {
        let name = name(&section, problems);
        if section.has("name") && found.iter().any(|other| other.name == name) {
            section.error("name", format!("{name:?} is the name of another callback too; rename one"), problems);
        }
        let is_in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if section.has("name") && !name.bytes().all(is_in_path) {
            section.error("name", "stands in a path; use letters, digits, -, _, . and ~", problems);
        }
        let secret = path_secret(&section, read, problems);
        let personal_data = section.flag("personal_data", false, problems);
        let kind = section.choice("kind", choices::CALLBACK_KIND, CallbackKind::Quntool, problems);
        for (key, of) in OWN {
            if !of.contains(&kind) && section.has(key) {
                let own: Vec<String> = of.iter().map(|kind| format!("{:?}", word(*kind))).collect();
                let (own, other) = (own.join(" or "), word(kind));
                section.error(key, format!("goes with kind = {own}, this is {other:?}; remove it"), problems);
            }
        }
        let of = match kind {
            CallbackKind::Quntool => CallbackOf::Quntool { sender: sender_of(&section, senders, problems) },
            CallbackKind::Guid => CallbackOf::Guid,
            CallbackKind::Yunxin => yunxin(&section, read, problems),
            CallbackKind::Wecom => wecom(&section, read, problems),
        };
        found.push(Callback { name, secret, personal_data, of });
    }
    found
}

fn word(kind: CallbackKind) -> &'static str {
    choices::word(choices::CALLBACK_KIND, &kind)
}

fn yunxin(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> CallbackOf {
    let app_key = section.text("app_key", problems).unwrap_or_default();
    if app_key.is_empty() {
        section.missing("app_key", "add the AppKey of the application whose callbacks these are", problems);
    }
    let message = "add app_secret_file with the AppSecret, which proves that a callback is genuine";
    CallbackOf::Yunxin {
        app_key,
        app_secret: needed(section, "app_secret", message, read, problems),
        tolerance: tolerance(section, problems),
    }
}

fn tolerance(section: &Section<'_>, problems: &mut Problems) -> Duration {
    section.duration("tolerance", TOLERANCE, Duration::ZERO..=TOLERANCE_MOST, problems)
}

fn wecom(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> CallbackOf {
    let token = needed(section, "token", "add token_file with the Token of the callback", read, problems);
    let message = "add aes_key_file with the EncodingAESKey of the callback";
    let aes_key = needed(section, "aes_key", message, read, problems);
    let text = aes_key.value.expose_secret();
    let is_key = text.len() == AES_KEY_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !text.is_empty() && !files::is_hidden(&aes_key) && !is_key {
        let name = if section.has("aes_key") { "aes_key" } else { "aes_key_file" };
        section.error(name, "must be the 43 letters and digits of the EncodingAESKey; copy it whole", problems);
    }
    let receivers = section.texts_or_empty("receivers", problems);
    if receivers.is_empty() {
        let message =
            "name whom callbacks may be for: the company's id, the suite's id, or \"\" where WeCom sends none";
        section.missing("receivers", message, problems);
    }
    CallbackOf::Wecom { token, aes_key, receivers, tolerance: tolerance(section, problems) }
}

fn path_secret(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Secret {
    let message = "add secret_file with a random text, without which anybody could report a message as sent";
    let found = needed(section, "secret", message, read, problems);
    let text = found.value.expose_secret();
    let is_good =
        text.len() >= SECRET_LENGTH_LEAST && files::is_visible_ascii(&found) && !text.contains(['/', '?', '#', '%']);
    if !text.is_empty() && !files::is_hidden(&found) && !is_good {
        let name = if section.has("secret") { "secret" } else { "secret_file" };
        let message =
            "the secret must have at least 16 visible ASCII characters, and none of / ? # %; make a random one";
        section.error(name, message, problems);
    }
    found
}

/// A secret that must be there; empty where it is not, which was reported.
fn needed(section: &Section<'_>, name: &str, missing: &str, read: &ReadFile<'_>, problems: &mut Problems) -> Secret {
    let file = format!("{name}_file");
    if !section.has(name) && !section.has(&file) {
        section.missing(&file, missing, problems);
    }
    let found = files::secret(section, name, read, problems);
    found.unwrap_or_else(|| Secret { value: SecretString::from(String::new()), file: None })
}
