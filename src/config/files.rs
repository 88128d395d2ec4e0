//! The files that keys point to: secrets and certificates, read once at start.

use super::ReadFile;
use super::problem::Problems;
use super::section::Section;
use super::settings::{ClientCertificate, Pem, Secret};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

/// What the effective configuration shows in place of a secret. It may be loaded again, with a warning.
pub(super) const HIDDEN: &str = "<secret>";

/// A secret that is given by itself or in a file, but not both. `None` where it is neither, or was wrong.
pub(super) fn secret(
    section: &Section<'_>,
    name: &str,
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Option<Secret> {
    let file_key = format!("{name}_file");
    let direct = section.text(name, problems);
    let file = section.text(&file_key, problems).map(PathBuf::from);
    if section.has(name) && section.has(&file_key) {
        section.error(name, format!("is given twice; keep one of {name} and {file_key}"), problems);
        return None;
    }
    if let Some(text) = direct {
        if text == HIDDEN {
            section.warn(name, "stands for a secret that was left out; put the secret in its place", problems);
        }
        return Some(Secret { value: SecretString::from(text), file: None });
    }
    let file = file?;
    let text = contents(section, &file_key, &file, read, problems)?;
    // Editors and `echo` end a file with a line break that nobody means.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
        let message = format!("{} must hold the secret alone, on one line, without spaces around it", file.display());
        section.error(&file_key, message, problems);
        return None;
    }
    Some(Secret { value: SecretString::from(text.to_owned()), file: Some(file) })
}

/// Whether it is only the place of a secret.
pub(super) fn is_hidden(secret: &Secret) -> bool {
    secret.value.expose_secret() == HIDDEN
}

/// Whether a secret can be sent in an HTTP header.
pub(super) fn is_visible_ascii(secret: &Secret) -> bool {
    secret.value.expose_secret().bytes().all(|byte| byte.is_ascii_graphic())
}

/// A file of certificates.
pub(super) fn certificates(
    section: &Section<'_>,
    name: &str,
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Option<Pem> {
    let file = PathBuf::from(section.text(name, problems)?);
    let text = contents(section, name, &file, read, problems)?;
    if text.contains("PRIVATE KEY-----") {
        let message = format!("{} contains a private key; give the certificate alone", file.display());
        section.error(name, message, problems);
        return None;
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        let message = format!("{} contains no certificate; give a file in PEM form", file.display());
        section.error(name, message, problems);
        return None;
    }
    Some(Pem { file, text })
}

/// `client_cert_file` and `client_key_file`: both or none.
pub(super) fn client_certificate(
    section: &Section<'_>,
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Option<ClientCertificate> {
    const CERTIFICATE: &str = "client_cert_file";
    const KEY: &str = "client_key_file";
    match (section.has(CERTIFICATE), section.has(KEY)) {
        (true, false) => section.error(CERTIFICATE, format!("needs its key; set {KEY} too"), problems),
        (false, true) => section.error(KEY, format!("needs its certificate; set {CERTIFICATE} too"), problems),
        (true, true) | (false, false) => (),
    }
    let certificate = certificates(section, CERTIFICATE, read, problems);
    let file = PathBuf::from(section.text(KEY, problems)?);
    let text = contents(section, KEY, &file, read, problems)?;
    if !text.contains("PRIVATE KEY-----") {
        let message = format!("{} contains no private key; give a file in PEM form", file.display());
        section.error(KEY, message, problems);
        return None;
    }
    let key = Secret { value: SecretString::from(text), file: Some(file) };
    Some(ClientCertificate { certificate: certificate?, key })
}

fn contents(
    section: &Section<'_>,
    name: &str,
    file: &Path,
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let message = match read(file) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return Some(text),
            Err(_) => format!("{} is not text in UTF-8", file.display()),
        },
        Err(error) => format!("cannot read {}: {error}; check the path and its permissions", file.display()),
    };
    section.error(name, message, problems);
    None
}
