//! Match rules, as the data path reads them: one list, published by one word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rvs_abi::{
    Rule, Settings,
    rule::{self, RULES},
};
use rvs_config::{MatchRule, Protocol, ServiceKey};

use crate::{ChangeError, dataplane::Dataplane, object::Maps, wire};

impl Dataplane {
    /// Publishes the rules of all services, in the order in which these were added.
    pub(crate) fn write_rules(&self) -> Result<(), ChangeError> {
        let wanted: Vec<[u32; 11]> = self
            .rows
            .with_rules()
            .flat_map(|row| row.options.rules.iter().map(|rule| words(rule, &row.key)))
            .collect();
        let count = u32::try_from(wanted.len())
            .ok()
            .filter(|count| *count <= RULES)
            .ok_or(ChangeError::NoRoom {
                what: "match rule",
                limit: RULES.into(),
            })?;
        let Some(settings) = self.maps.settings.get(0) else {
            return Ok(());
        };
        let (offset, found) = rule::of_list(settings.rules.load());
        let same = found == count
            && (offset..).zip(&wanted).all(|(place, wanted)| {
                let rule = self.maps.rules.get(place);
                rule.is_some_and(|rule| load(rule) == *wanted)
            });
        if !same {
            let next = if offset == 0 { RULES } else { 0 };
            for (place, wanted) in (next..).zip(&wanted) {
                if let Some(rule) = self.maps.rules.get(place) {
                    store(rule, wanted);
                }
            }
            settings.rules.store(rule::list(next, count));
            // No program reads the former list any more when the next change writes there.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let others = settings.flags.load() & !Settings::HAS_RULES;
        let there = if count > 0 { Settings::HAS_RULES } else { 0 };
        settings.flags.store(others | there);
        Ok(())
    }
}

/// The rules that give the mark of this service.
pub(crate) fn read(maps: &Maps, key: &ServiceKey) -> Vec<MatchRule> {
    let Some(settings) = maps.settings.get(0) else {
        return Vec::new();
    };
    let own = wire::service_key(key);
    if !matches!(key, ServiceKey::Mark(_)) {
        return Vec::new();
    }
    let (offset, count) = rule::of_list(settings.rules.load());
    (offset..offset.saturating_add(count))
        .filter_map(|place| maps.rules.get(place).map(load))
        .filter(|words| words[10] == own.address[0] && words[9] >> 8 == u32::from(own.family))
        .filter_map(|words| rule_of(&words))
        .collect()
}

/// First address, last address, ports, protocol and family, mark.
fn words(rule: &MatchRule, key: &ServiceKey) -> [u32; 11] {
    let own = wire::service_key(key);
    let (first, last) = rule.addresses();
    let (first, last) = (address_words(first), address_words(last));
    let (low, high) = rule.ports();
    [
        first[0],
        first[1],
        first[2],
        first[3],
        last[0],
        last[1],
        last[2],
        last[3],
        u32::from(low) | u32::from(high) << 16,
        u32::from(rule.protocol().map_or(0, Protocol::number)) | u32::from(own.family) << 8,
        own.address[0],
    ]
}

fn rule_of(words: &[u32; 11]) -> Option<MatchRule> {
    let is_v6 = words[9] >> 8 == 6;
    let protocol = (words[9] & 0xff) as u8;
    let protocol = Protocol::ALL
        .into_iter()
        .find(|candidate| candidate.number() == protocol);
    let addresses = (
        address_of(&words[0..4], is_v6),
        address_of(&words[4..8], is_v6),
    );
    MatchRule::new(
        protocol,
        addresses,
        (words[8] as u16, (words[8] >> 16) as u16),
    )
    .ok()
}

fn address_words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [address.to_bits(), 0, 0, 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
        }
    }
}

fn address_of(words: &[u32], is_v6: bool) -> IpAddr {
    if is_v6 {
        let bits = words
            .iter()
            .fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
        Ipv6Addr::from_bits(bits).into()
    } else {
        Ipv4Addr::from_bits(words.first().copied().unwrap_or(0)).into()
    }
}

fn cells(rule: &Rule) -> impl Iterator<Item = &rvs_abi::Word32> {
    let rest = [&rule.ports, &rule.what, &rule.mark];
    rule.first.iter().chain(&rule.last).chain(rest)
}

fn load(rule: &Rule) -> [u32; 11] {
    let mut words = [0; 11];
    for (word, cell) in words.iter_mut().zip(cells(rule)) {
        *word = cell.load();
    }
    words
}

fn store(rule: &Rule, words: &[u32; 11]) {
    for (word, cell) in words.iter().zip(cells(rule)) {
        cell.store(*word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_back_as_they_were_written() {
        for (key, rule) in [
            ("fwmark://7", "tcp://10.0.0.0/24:80-90"),
            ("fwmark://4294967295", "any://10.0.0.1-10.0.0.9"),
            ("fwmark6://7", "udp://[2001:db8::/64]:53"),
            ("fwmark6://8", "sctp://[2001:db8::1]:1-65535"),
        ] {
            let key: ServiceKey = key.parse().expect(key);
            let rule: MatchRule = rule.parse().expect("a rule");
            let entry = Rule::default();
            store(&entry, &words(&rule, &key));
            let found = load(&entry);
            assert_eq!(found[10], wire::service_key(&key).address[0]);
            assert_eq!(rule_of(&found), Some(rule));
        }
    }
}
