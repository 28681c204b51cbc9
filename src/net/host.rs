//! Which hosts are near enough to be spoken to without TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether plain text to `host` stays on this machine or on its own network: a loopback, private
/// (RFC 1918, RFC 4193), link-local or shared (RFC 6598) address, `localhost`, or a name below
/// `.localhost` or `.local` (RFC 6762). Other names are not looked up and count as public; IPv6
/// addresses may stand in brackets.
pub fn is_private_or_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => is_near_v4(v4),
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_near_v6(v6), is_near_v4),
        };
    }
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    match name.rsplit_once('.') {
        Some((_, top)) => top == "localhost" || top == "local",
        None => name == "localhost",
    }
}

/// Whether what is sent to `host` stays on this machine: a loopback address, `localhost`, or a name below
/// `.localhost` (RFC 6761). Other names are not looked up.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    name.rsplit('.').next() == Some("localhost")
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || (a == 100 && (64..128).contains(&b))
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_does_not_leave_the_site() {
        for near in [
            "localhost",
            "LOCALHOST.",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.10",
            "169.254.0.1",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::ffff:192.168.1.1",
            "pi.local",
            "broker.press.local",
        ] {
            assert!(is_private_or_loopback(near), "{near}");
        }
        for far in [
            "example.com",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "localhost.example.com",
            "local",
            "10.example.com",
            "",
            "0.0.0.0",
        ] {
            assert!(!is_private_or_loopback(far), "{far}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for here in ["localhost", "a.localhost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(here), "{here}");
        }
        assert!(is_loopback("::ffff:127.0.0.1"));
        for away in ["10.1.2.3", "fe80::1", "pi.local", "localhost.example.com", "", "0.0.0.0"] {
            assert!(!is_loopback(away), "{away}");
        }
    }
}
