//! How the cloud meets a connection: the handshake before anything is asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio_rustls::TlsAcceptor;

use crate::support::cloud::identity;

/// What becomes of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Manner {
    /// It goes as it should.
    Right,
    /// The certificate is of an authority that nobody here knows.
    Stranger,
    /// Nothing comes back.
    HangsUp,
}

/// The cloud's door.
pub(super) struct Door {
    right: TlsAcceptor,
    stranger: TlsAcceptor,
    state: Mutex<(Manner, BTreeMap<Manner, u32>)>,
}

impl Door {
    /// The door of a server of that name, and the certificate of the authority that vouches for it.
    pub(super) fn of(name: &str) -> (Self, String) {
        let ((right, ca), (stranger, _)) = (identity(name), identity(name));
        (Self { right, stranger, state: Mutex::new((Manner::Right, BTreeMap::new())) }, ca)
    }

    /// How the next connections are met.
    pub(super) fn set(&self, manner: Manner) {
        self.state().0 = manner;
    }

    /// How many were met so.
    pub(super) fn met(&self, manner: Manner) -> u32 {
        self.state().1.get(&manner).copied().unwrap_or_default()
    }

    /// Meets the next one.
    pub(super) fn meet(&self) -> Option<TlsAcceptor> {
        let mut state = self.state();
        let manner = state.0;
        *state.1.entry(manner).or_default() += 1;
        match manner {
            Manner::Right => Some(self.right.clone()),
            Manner::Stranger => Some(self.stranger.clone()),
            Manner::HangsUp => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, (Manner, BTreeMap<Manner, u32>)> {
        self.state.lock().expect("state")
    }
}
