//! Who may connect to the broker.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType};
use rmqtt::types::AuthResult;
use sha2::{Digest, Sha256};

/// Names and digests of passwords. Only digests are compared, all of their bytes, so that the time
/// that it takes says nothing about the password.
#[derive(Debug)]
pub(super) struct Users(BTreeMap<String, [u8; 32]>);

impl Users {
    pub(super) fn new(passwords: impl IntoIterator<Item = (String, String)>) -> Self {
        let digested = |(name, password): (String, String)| (name, digest(password.as_bytes()));
        Self(passwords.into_iter().map(digested).collect())
    }

    /// Without users everybody may connect.
    pub(super) fn admit(&self, name: Option<&str>, password: Option<&[u8]>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let given = digest(password.unwrap_or_default());
        let known = name.and_then(|name| self.0.get(name));
        // An unknown name takes as long as a known one.
        let expected = known.copied().unwrap_or_else(|| digest(b"nobody"));
        let difference = given.iter().zip(expected).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0 && known.is_some()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The broker's door: counts the clients and looks at their passwords.
pub(super) struct Door {
    pub(super) users: Users,
    pub(super) max_connections: usize,
    pub(super) context: ServerContext,
}

#[async_trait]
impl Handler for Door {
    #[expect(elided_lifetimes_in_paths, reason = "the trait elides it, and so must this")]
    async fn hook(&self, parameter: &Parameter, so_far: Option<HookResult>) -> ReturnType {
        let Parameter::ClientAuthenticate(client) = parameter else { return (true, so_far) };
        let name = client.username().map(|name| &**name);
        let connections = usize::try_from(self.context.connections.count()).unwrap_or_default();
        let verdict = if connections >= self.max_connections {
            tracing::warn!(connections, "broker: a client was turned away, too many connections");
            AuthResult::NotAuthorized
        } else if self.users.admit(name, client.password().map(|password| &**password)) {
            AuthResult::Allow(false, None)
        } else {
            tracing::warn!(client = %client.client_id(), "broker: bad user name or password");
            AuthResult::BadUsernameOrPassword
        };
        (false, Some(HookResult::AuthResult(verdict)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_opens() {
        let users = Users::new([("ann".to_owned(), "secret".to_owned())]);
        assert!(users.admit(Some("ann"), Some(b"secret")));
        for (name, password) in [
            (Some("ann"), Some(b"secrets".as_slice())),
            (Some("ann"), Some(b"".as_slice())),
            (Some("ann"), None),
            (Some("bob"), Some(b"secret".as_slice())),
            (Some("bob"), Some(b"nobody".as_slice())),
            (None, Some(b"nobody".as_slice())),
            (None, None),
        ] {
            assert!(!users.admit(name, password), "{name:?} {password:?}");
        }
        assert!(Users::new([]).admit(None, None));
    }
}
