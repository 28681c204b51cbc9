//! What a configuration check finds.

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
