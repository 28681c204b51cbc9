//! What a configuration check finds, and errors in words.

/// Something in a configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key below the table that was checked, such as `ca_file`.
    pub key: String,
    /// A lowercase fragment that says what is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at `key`.
    pub fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into() }
    }
}

/// An error and its sources in one line.
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
