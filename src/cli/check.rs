//! `sendbridge check`: is this configuration right, and what does it come to?

use crate::config;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

/// Checks a configuration file together with the environment.
///
/// Answers what to print and the exit code: every mistake and 78, or the effective configuration without secrets and
/// 0. Warnings stand in front as comments, so that the output is a configuration all the same.
pub fn check(path: &Path, environment: impl IntoIterator<Item = (OsString, OsString)>) -> (String, u8) {
    let loaded = match config::load(path, environment, &config::read_file) {
        Ok(loaded) => loaded,
        Err(problems) => return (problems.to_string(), config::EXIT_CODE),
    };
    let mut report = String::new();
    for warning in &loaded.warnings {
        // Writing to a String cannot fail.
        let _ = writeln!(report, "# warning: {warning}");
    }
    report.push_str(config::effective(&loaded.config).trim_start());
    (report, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> (String, u8) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sendbridge.toml");
        std::fs::write(&path, text).expect("a file");
        check(&path, [])
    }

    const SENDER: &str = "[[senders]]\nname = \"main\"\nurl = \"http://127.0.0.1/\"\napi_key = \"canary\"\n";

    #[test]
    fn shows_the_configuration_without_its_secret() {
        let (report, code) = check_text(SENDER);
        assert_eq!(code, 0);
        assert!(report.starts_with("[mqtt]\n"), "{report}");
        assert!(report.contains("api_key = \"<secret>\""), "{report}");
        assert!(!report.contains("canary"), "{report}");
    }

    #[test]
    fn warnings_leave_it_loadable() {
        let (report, code) = check_text(&format!("{SENDER}[limits]\naccount_interval = \"100ms\"\n"));
        assert_eq!(code, 0);
        assert!(report.starts_with("# warning: "), "{report}");
        assert_eq!(check_text(&report).1, 0);
    }

    #[test]
    fn reports_every_mistake() {
        let (report, code) = check_text("[mqtt]\nulr = 1\nkeep_alive = 30\n");
        assert_eq!(code, 78);
        assert_eq!(report.lines().count(), 3, "{report}");
    }

    #[test]
    fn a_missing_file_is_a_report() {
        let (report, code) = check(Path::new("/nowhere/sendbridge.toml"), []);
        assert_eq!(code, 78);
        assert!(report.starts_with("/nowhere/sendbridge.toml: cannot read it: "), "{report}");
    }
}
