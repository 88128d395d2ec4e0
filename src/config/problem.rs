use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file; no line where something is missing from the file as a whole.
    File { file: Arc<str>, line: Option<usize> },
    /// An environment variable.
    Variable(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: Some(line) } => write!(f, "{file}:{line}"),
            Self::File { file, line: None } => f.write_str(file),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One mistake: where it is, which key, and in words what is wrong and what to do.
///
/// The words are for a person and nobody matches on them. They never contain a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub origin: Origin,
    /// The key with its tables, `senders[0].url`; empty where the whole file is meant.
    pub key: String,
    pub message: String,
}

/// Always one line: keys and variables may have been named with line breaks or escapes in them.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self.key.as_str() {
            "" => format!("{}: {}", self.origin, self.message),
            key => format!("{}: {key}: {}", self.origin, self.message),
        };
        line.chars().try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_debug()) } else { write!(f, "{c}") })
    }
}

/// Everything that was found wrong, in the order of the file, variables last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// What keeps the bridge from starting.
    pub errors: Vec<Problem>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Problem>,
}

impl Problems {
    pub(super) fn error(&mut self, origin: Origin, key: String, message: impl Into<String>) {
        self.errors.push(Problem { origin, key, message: message.into() });
    }

    pub(super) fn warn(&mut self, origin: Origin, key: String, message: impl Into<String>) {
        self.warnings.push(Problem { origin, key, message: message.into() });
    }

    /// Whether `key` or something in it is already reported, so that its consequences need not be.
    pub(super) fn blames(&self, key: &str) -> bool {
        self.errors.iter().any(|problem| {
            problem.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    pub(super) fn sort(&mut self) {
        self.errors.sort();
        self.errors.dedup();
        self.warnings.sort();
        self.warnings.dedup();
    }
}

/// One line for each error, then one for each warning.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
