//! What holds for the whole director and may change while it runs: time-outs and knobs.

use rvs_abi::{Service as ServiceEntry, Settings};
use rvs_config::{Compat, Knobs, Timeouts, Timer};

use crate::{dataplane::Dataplane, options::ticks};

impl Dataplane {
    /// Changes the time-outs, from now on.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) {
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        for timer in Timer::all() {
            if let Some(word) = settings.timeouts.get(timer as usize) {
                word.store(ticks(timeouts.get(timer), self.ticks));
            }
        }
    }

    /// Turns the knobs, from now on.
    pub fn set_knobs(&mut self, knobs: &Knobs, compat: Option<Compat>) {
        self.knobs = *knobs;
        self.compat = compat;
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        settings
            .lblcr_expiration
            .store(ticks(knobs.lblcr_expiration, self.ticks));
        if knobs.backup_only {
            tracing::warn!("backup_only is not built yet: it has no effect");
        }
        let mut flags = settings.flags.load();
        for (bit, on) in flags_of(knobs) {
            flags = if on { flags | bit } else { flags & !bit };
        }
        settings.flags.store(flags);
        let exact = self.exact();
        for row in self.rows.services.values() {
            if let Some(entry) = self.maps.services.get(row.index) {
                let others = entry.flags.load() & !ServiceEntry::EXACT;
                entry.flags.store(others | exact);
            }
        }
        self.renew_tables();
        self.call_up();
    }

    /// The flag of a service that schedules to the letter of IPVS, if services do.
    pub(crate) fn exact(&self) -> u32 {
        match self.compat {
            Some(Compat::Ipvs) => ServiceEntry::EXACT,
            None => 0,
        }
    }
}

/// The flags of the settings that are knobs.
fn flags_of(knobs: &Knobs) -> [(u32, bool); 12] {
    [
        (Settings::EXPIRE_NODEST, knobs.expire_nodest_conn),
        (Settings::EXPIRE_QUIESCENT, knobs.expire_quiescent_template),
        (Settings::REUSE, knobs.conn_reuse_mode.closed()),
        (Settings::REUSE_FIN_WAIT, knobs.conn_reuse_mode.fin_wait()),
        (Settings::SLOPPY_TCP, knobs.sloppy_tcp),
        (Settings::SLOPPY_SCTP, knobs.sloppy_sctp),
        (Settings::SCHEDULE_ICMP, knobs.schedule_icmp),
        (Settings::NAT_ICMP_SEND, knobs.nat_icmp_send),
        (Settings::SNAT_REROUTE, knobs.snat_reroute),
        (Settings::PMTU_DISC, knobs.pmtu_disc),
        (Settings::IGNORE_TUNNELED, knobs.ignore_tunneled),
        (Settings::CACHE_BYPASS, knobs.cache_bypass),
    ]
}
