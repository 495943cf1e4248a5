//! The usual packets of one client towards one service, played over memory, and time that passes between them.

use rvs_abi::sweep::Sweep;

use crate::{Frame, Memory, Native, Recipe, Surroundings, place::Family};

/// One second on the clock of [`crate::World`], in ticks.
pub const SECOND: u32 = 250;

impl Memory {
    /// A packet arrives on the whole way.
    pub fn arrives(&self, packet: &Recipe) {
        let mut native = Native {
            frame: Frame::new(&packet.frame(), Frame::routes(&Surroundings::default())),
            memory: self,
        };
        native.direct();
    }

    /// The IPv4 client asks the first service, from this port; `protocol` is 6, with these TCP flags, or 17.
    pub fn asks(&self, port: u16, protocol: u8, flags: &'static str) {
        let (client, service) = ((Family::V4.client(), port), (Family::V4.vip(0), 80));
        self.arrives(&if protocol == 6 {
            Recipe::tcp(client, service, flags)
        } else {
            Recipe::udp(client, service)
        });
    }

    /// `ticks` pass.
    pub fn passes(&self, ticks: u32) {
        self.now.set(self.now.get() + ticks);
    }

    /// The whole IPv4 table is swept, with these flags of [`Sweep`].
    pub fn sweep(&self, flags: u32) -> Sweep {
        let slice = Sweep {
            family: 4,
            first: 0,
            count: self.slots4.len() as u32,
            pass: 1,
            flags,
            ..Sweep::default()
        };
        rvs_core::sweep::sweep(self, slice)
    }
}
