//! Topic filters and names by the rules of MQTT 5, section 4.7.

use std::fmt;

/// The longest topic or filter that MQTT can carry, in bytes.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Why a text is no usable topic name or filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A list without a single entry, where one is needed.
    NoneGiven,
    Empty,
    TooLong {
        bytes: usize,
        bytes_max: usize,
    },
    Nul,
    /// Topics that begin with `$` belong to the broker.
    Dollar,
    /// `+` or `#` in a name that is published to.
    Wildcard,
    /// `+` or `#` beside other characters of a level, or `#` before the last level.
    MisplacedWildcard,
    /// A wildcard before the last level of a send filter, or nothing before it.
    InnerWildcard,
    /// It shares topics with another one, and messages would come back or be mistaken for others.
    Overlaps {
        with: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoneGiven => f.write_str("needs at least one entry"),
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong { bytes, bytes_max } => write!(f, "is {bytes} bytes long, at most {bytes_max} are allowed"),
            Self::Nul => f.write_str("must not contain the NUL character"),
            Self::Dollar => f.write_str("must not begin with $: such topics belong to the broker"),
            Self::Wildcard => f.write_str("must not contain + or #: it is published to"),
            Self::MisplacedWildcard => {
                f.write_str("must have + and # alone in their level, and # in the last one only")
            }
            Self::InnerWildcard => f.write_str(
                "may have a wildcard only as its last level, after a name: what it matches is the suffix of the answer",
            ),
            Self::Overlaps { with } => write!(f, "shares topics with {with:?}: choose names apart from each other"),
        }
    }
}

impl std::error::Error for Unfit {}

/// A valid topic filter that does not begin with `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Box<str>);

impl Filter {
    /// Checks a filter.
    ///
    /// # Errors
    /// The first rule of MQTT that it breaks.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_alone = level.len() == 1;
            let is_last = levels.peek().is_none();
            if level.contains(['+', '#']) && !is_alone || level == "#" && !is_last {
                return Err(Unfit::MisplacedWildcard);
            }
        }
        Ok(Self(Box::from(text)))
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What comes before a wildcard in the last level, with its slash; `None` without a wildcard.
    pub fn stem(&self) -> Option<&str> {
        self.0.strip_suffix(['+', '#'])
    }

    /// Whether the broker would deliver a message on `topic` to a subscription of this filter.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') {
            // A filter never begins with `$`, and a leading wildcard does not reach the broker's own topics.
            return false;
        }
        let mut wanted = self.0.split('/');
        let mut levels = topic.split('/');
        loop {
            match (wanted.next(), levels.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => (),
                (Some(name), Some(level)) if name == level => (),
                (Some(_), _) | (None, Some(_)) => return false,
            }
        }
    }

    /// Whether there is a topic that both match.
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut ours = self.0.split('/');
        let mut theirs = other.0.split('/');
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => (),
                (Some(our), Some(their)) if our == their => (),
                (Some(_), _) | (None, Some(_)) => return false,
            }
        }
    }
}

/// Checks a name that is published to: no wildcards, no NUL, 1 to 65,535 bytes, not the broker's own.
///
/// # Errors
/// The first of these rules that it breaks.
pub fn check_name(text: &str) -> Result<(), Unfit> {
    check_text(text)?;
    if text.contains(['+', '#']) { Err(Unfit::Wildcard) } else { Ok(()) }
}

fn check_text(text: &str) -> Result<(), Unfit> {
    if text.is_empty() {
        return Err(Unfit::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(Unfit::TooLong { bytes: text.len(), bytes_max: TOPIC_BYTES_MAX });
    }
    if text.contains('\0') {
        return Err(Unfit::Nul);
    }
    if text.starts_with('$') {
        return Err(Unfit::Dollar);
    }
    Ok(())
}
