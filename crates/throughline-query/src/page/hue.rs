//! One hue per service, told by its name alone, so that a service looks the same on every page and in every run. Red is not
//! among them: it means error. Two services of one page whose names fall on the same hue get different ones; the later in
//! the alphabet moves.

use std::collections::{BTreeMap, BTreeSet};

/// Hues in the stylesheet: classes `c0` to `c11`. More could not be told apart.
pub(super) const HUES: usize = 12;
/// Steps to the next hue that is free; prime to [`HUES`], and far from the last one.
const STEP: usize = 5;

/// The hues of one page's services.
pub(super) struct Hues(BTreeMap<String, usize>);

impl Hues {
    pub(super) fn of<'a>(services: impl IntoIterator<Item = &'a str>) -> Self {
        let services: BTreeSet<&str> = services.into_iter().collect();
        let mut taken = BTreeSet::new();
        let mut hues = BTreeMap::new();
        for service in services {
            let own = own_hue(service);
            let free = (0..HUES).map(|i| (own + i * STEP) % HUES).find(|hue| !taken.contains(hue));
            let hue = free.unwrap_or(own);
            taken.insert(hue);
            hues.insert(service.to_owned(), hue);
        }
        Self(hues)
    }

    /// The class that gives an element its service's hue.
    pub(super) fn class(&self, service: &str) -> String {
        format!("c{}", self.0.get(service).copied().unwrap_or_else(|| own_hue(service)))
    }
}

/// FNV-1a: small, and the same for ever, unlike the standard library's hashers.
fn own_hue(service: &str) -> usize {
    let hash = service.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV are weak; fold the high ones in.
    usize::try_from((hash ^ (hash >> 32)) % HUES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_hue_and_no_two_share_one() {
        let alone = Hues::of(["api"]).class("api");
        assert_eq!(alone, Hues::of(["api", "payment-worker"]).class("api"));
        let names: Vec<String> = (0..HUES).map(|i| format!("service-{i}")).collect();
        let hues = Hues::of(names.iter().map(String::as_str));
        let distinct: BTreeSet<_> = names.iter().map(|name| hues.class(name)).collect();
        assert_eq!(distinct.len(), HUES);
        // More services than hues: they repeat, nothing fails.
        let many: Vec<String> = (0..HUES * 3).map(|i| format!("s{i}")).collect();
        assert_eq!(Hues::of(many.iter().map(String::as_str)).0.len(), HUES * 3);
    }
}
