//! Which of the nodes on the ring this one is: the one that `advertise` names, else the one whose address is an address of
//! this machine.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tier::host;

/// A name that is not resolved by then is asked for again later.
const PATIENCE: Duration = Duration::from_secs(2);

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
    // All at once: a resolver that does not answer holds up the start only once.
    let looking: JoinSet<Option<Arc<str>>> = members.iter().map(Arc::clone).map(is_here).collect();
    let mut here: Vec<Arc<str>> = looking.join_all().await.into_iter().flatten().collect();
    here.sort_unstable();
    match here.as_slice() {
        [] => Identity::Nobody,
        [one] => Identity::Is(Arc::clone(one)),
        _ => Identity::Several(here),
    }
}

/// The node, if it is on this machine.
async fn is_here(member: Arc<str>) -> Option<Arc<str>> {
    let host = host(&member)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await.ok()?.ok()?;
            found.map(|address| address.ip()).collect()
        }
    };
    addresses.into_iter().any(is_ours).then_some(member)
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
