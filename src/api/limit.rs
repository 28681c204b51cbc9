//! How often one client may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::route::{Refusal, busy_for};
use crate::event::Frequency;
use crate::task::Bucket;

/// So many clients are told apart; further ones share a bucket.
const MOST: usize = 4096;

/// A token bucket for every client, by its address.
#[derive(Debug)]
pub(super) struct Limit {
    rate: Option<Frequency>,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    known: HashMap<IpAddr, Bucket>,
    others: Option<Bucket>,
}

impl Limit {
    /// Without a rate nobody is held up.
    pub(super) fn new(rate: Option<Frequency>) -> Self {
        Self { rate, clients: Mutex::default() }
    }

    /// One more request of a client.
    pub(super) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Refusal> {
        let Some(rate) = self.rate else { return Ok(()) };
        let bucket = || Bucket::new(rate.count(), rate.per());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Clients { known, others } = &mut *clients;
        let client = network(client);
        if known.len() >= MOST && !known.contains_key(&client) {
            known.retain(|_, bucket| !bucket.is_full(now));
        }
        let mine = if known.len() < MOST || known.contains_key(&client) {
            known.entry(client).or_insert_with(bucket)
        } else {
            others.get_or_insert_with(bucket)
        };
        if mine.take(now) {
            return Ok(());
        }
        let message = format!("no more than {rate} are answered to one client");
        Err(busy_for(message, mine.wait(now)))
    }
}

/// Who has one address of IPv6 has 2⁶⁴.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let network = || [a, b, c, d, 0, 0, 0, 0].into();
            address.to_ipv4_mapped().map_or_else(network, IpAddr::V4)
        }
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::task::{Clock, SystemClock};

    #[test]
    fn a_client_that_asks_too_often_holds_up_nobody_else() {
        let limit = Limit::new(Some("2/s".parse().expect("a rate")));
        let now = SystemClock.now();
        let ask = |client: &str, at| limit.take(client.parse().expect("address"), at).is_ok();
        let greedy = ["fd00::1", "fd00::2", "fd00::1"].map(|client| ask(client, now));
        assert_eq!(greedy, [true, true, false], "one network");
        assert!(ask("fd00:0:0:1::1", now) && ask("10.0.0.1", now));
        assert!(ask("::ffff:10.0.0.1", now) && !ask("10.0.0.1", now), "the same client");
        assert!(ask("fd00::1", now + Duration::from_millis(500)));
    }

    #[test]
    fn however_many_clients_there_are_the_memory_is_bounded() {
        let limit = Limit::new(Some("2/min".parse().expect("a rate")));
        let now = SystemClock.now();
        for client in 0..20_000_u32 {
            let _asked = limit.take(IpAddr::V4(client.into()), now).is_ok();
        }
        let known = || limit.clients.lock().expect("lock").known.len();
        assert_eq!(known(), MOST);
        assert!(limit.take(IpAddr::V4(20_000.into()), now).is_err(), "those without a place share");
        let later = now + Duration::from_mins(2);
        assert!(limit.take(IpAddr::V4(20_000.into()), later).is_ok());
        assert_eq!(known(), 1);
    }
}
