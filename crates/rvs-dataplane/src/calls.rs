//! The calls of the SIP engine: what a template's slot has only a digest of, shown, taken along, and forgotten.

use std::collections::HashMap;

use rvs_abi::{Call, CallKey, family, protocol};
use rvs_table::tag;

use crate::{
    connections::{Entry, entries},
    dataplane::Dataplane,
    object::Maps,
    shared::Plain,
};

/// The key of a template's call; none where it is no call's.
fn key_of(entry: &Entry) -> Option<CallKey> {
    let is_call = protocol::of_call(protocol::UDP) == entry.protocol
        || protocol::of_call(0) == entry.protocol;
    let version = if entry.is_v6 { family::V6 } else { family::V4 };
    let (index, generation) = entry.place;
    is_call.then(|| CallKey::new(index, generation, version))
}

/// A call's template as one without engine would be, and the Call-ID, if that was kept.
pub(crate) fn shown(maps: &Maps, entry: &Entry) -> (Entry, Option<String>) {
    let Some(key) = key_of(entry) else {
        return (*entry, None);
    };
    let call = maps.calls.get(&Plain(key), 0).map(|Plain(call)| call);
    let text = call.as_ref().ok().map(|call| {
        // Its letters are ASCII's.
        call.bytes().map(char::from).collect()
    });
    let call = call.unwrap_or(Call::NONE);
    let shown = Entry {
        client: call.client,
        ports: call.ports,
        protocol: protocol::of_template(protocol::of_call(entry.protocol)),
        ..*entry
    };
    (shown, text)
}

/// Lets the calls of the old tables' templates be those of the new ones'.
pub(crate) fn copy(new: &mut Maps, old: &Maps) {
    if old.calls.keys().next().is_none() {
        return;
    }
    let places = |maps: &Maps| -> HashMap<_, CallKey> {
        let calls = entries(maps).filter_map(|entry| Some((entry.key(), key_of(&entry)?)));
        calls.collect()
    };
    let from = places(old);
    if from.is_empty() {
        return;
    }
    let to = places(new);
    for (key, from) in from {
        let (Some(to), Ok(call)) = (to.get(&key), old.calls.get(&Plain(from), 0)) else {
            continue;
        };
        if let Err(error) = new.calls.insert(Plain(*to), call, 0) {
            tracing::warn!(%error, "a Call-ID could not be taken over for listings");
        }
    }
}

impl Dataplane {
    /// Forgets the calls whose templates have ended.
    pub(crate) fn forget_calls(&mut self) {
        let is_gone = |key: &CallKey| {
            let seen = if key.family() == family::V6 {
                let slot = self.maps.slots6.get(key.index);
                slot.map(|slot| slot.head.tag.load())
            } else {
                let slot = self.maps.slots4.get(key.index);
                slot.map(|slot| slot.head.tag.load())
            };
            seen.is_none_or(|seen| {
                !tag::readable(seen) || tag::generation(seen) & 0xff != key.generation()
            })
        };
        let keys = self.maps.calls.keys().filter_map(Result::ok);
        let gone: Vec<CallKey> = keys.map(|Plain(key)| key).filter(is_gone).collect();
        for key in gone {
            let _ = self.maps.calls.remove(&Plain(key));
        }
    }
}
