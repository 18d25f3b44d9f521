//! Which of the nodes on the ring this one is: the one that `advertise` names, else the one whose address is an address of
//! this machine.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use super::tier::host;

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Is(Arc<str>),
    /// None of them, or not yet.
    Nobody,
    /// Several are on this machine.
    Several(Vec<Arc<str>>),
}

/// Asks the resolver of this machine for names that are no addresses.
pub(super) async fn find(members: &[Arc<str>], advertise: Option<&str>) -> Identity {
    if let Some(advertise) = advertise {
        let named = members.iter().find(|member| ***member == *advertise);
        return named.map_or(Identity::Nobody, |member| Identity::Is(Arc::clone(member)));
    }
    let mut here = Vec::new();
    for member in members {
        let Some(host) = host(member) else { continue };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let addresses: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            // A name that cannot be resolved now is asked for again later.
            Err(_) => tokio::net::lookup_host((host.as_str(), 0))
                .await
                .map(|found| found.map(|address| address.ip()).collect())
                .unwrap_or_default(),
        };
        if addresses.into_iter().any(is_ours) {
            here.push(Arc::clone(member));
        }
    }
    match here.as_slice() {
        [] => Identity::Nobody,
        [one] => Identity::Is(Arc::clone(one)),
        _ => Identity::Several(here),
    }
}

/// A socket can be bound to an address of this machine and to no other.
fn is_ours(address: IpAddr) -> bool {
    !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(members: &[&str], advertise: Option<&str>) -> Identity {
        let members: Vec<Arc<str>> = members.iter().copied().map(Arc::from).collect();
        find(&members, advertise).await
    }

    #[tokio::test]
    async fn it_is_who_is_named_or_who_has_our_address() {
        let is = |name: &str| Identity::Is(Arc::from(name));
        // 198.51.100.0/24 is for documents: no machine has it.
        let far = "198.51.100.1:4317";
        assert_eq!(check(&[far, "127.0.0.1:4317"], None).await, is("127.0.0.1:4317"));
        assert_eq!(check(&[far, "localhost"], None).await, is("localhost"));
        assert_eq!(check(&[far, "198.51.100.2"], None).await, Identity::Nobody);
        assert_eq!(check(&[far, "127.0.0.1:4317"], Some(far)).await, is(far));
        assert_eq!(check(&["127.0.0.1:4317"], Some("127.0.0.1")).await, Identity::Nobody);
        let both = ["127.0.0.1:4317", "127.0.0.2:4317"];
        let several = Identity::Several(both.iter().copied().map(Arc::from).collect());
        assert_eq!(check(&both, None).await, several);
    }
}
