//! Which payloads ask for the same message.

use super::object::Member;
use crate::model::Fingerprint;
use sha2::{Digest, Sha256};

/// Digests a type and the forwarded members, which come in the order of their lower-cased names.
///
/// Lengths go before texts, so that nothing can move from one to the next. White space between tokens does not count.
pub(super) fn fingerprint<'a, 'b: 'a>(
    kind: &str,
    sorted: impl Iterator<Item = (&'a str, &'a Member<'b>)>,
) -> Fingerprint {
    let mut digest = Sha256::new();
    let mut value = Vec::new();
    add(&mut digest, kind.as_bytes());
    for (name, member) in sorted {
        add(&mut digest, name.as_bytes());
        // Nearly every value is one string, or written without white space: these need no copy.
        if member.value.starts_with('"') || !member.value.bytes().any(is_white) {
            add(&mut digest, member.value.as_bytes());
            continue;
        }
        value.clear();
        push_tokens(member.value, &mut value);
        add(&mut digest, &value);
    }
    let mut fingerprint = Fingerprint::default();
    for (to, from) in fingerprint.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    fingerprint
}

fn add(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

/// What JSON allows between tokens.
const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Copies JSON text without the white space outside its strings.
fn push_tokens(json: &str, tokens: &mut Vec<u8>) {
    let mut in_string = false;
    let mut is_escaped = false;
    for &byte in json.as_bytes() {
        if in_string {
            in_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
        } else if is_white(byte) {
            continue;
        } else {
            in_string = byte == b'"';
        }
        tokens.push(byte);
    }
}
