//! What the director's host itself sends: the programs for clients on the director, and for its replies as a real
//! server at another address or port than the virtual service's. They are attached only while they are needed.

use crate::{
    OpenError,
    attach::{self, LOOPBACK, OUT},
    dataplane::Dataplane,
    kernel,
    object::{self, LOCAL, LOCAL_L3},
    rows::ServerRow,
};

/// Whether the host accepts, on the loopback interface, packets from its own addresses: replies from a virtual
/// service to a client on the host are such.
const ACCEPT_LOCAL: &str = "net/ipv4/conf/lo/accept_local";

/// Which of the programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// To what goes out.
    out: bool,
    /// To the loopback interface.
    loopback: bool,
}

impl Dataplane {
    /// Attaches the programs anew after the interfaces' own; what was attached before stays until the servers are
    /// known.
    pub(crate) fn attach_local(&mut self) -> Result<(), OpenError> {
        let links = self.pins.links();
        let was = self
            .interfaces
            .iter()
            .any(|(interface, _)| attach::tc_attached(interface, &links, OUT));
        let needed = self.local_needed();
        self.apply_local(Attached {
            out: was || needed.out,
            ..needed
        })
    }

    /// Attaches or detaches the programs where the servers have changed.
    pub(crate) fn follow_local(&mut self) {
        let needed = self.local_needed();
        if needed == self.local {
            return;
        }
        match self.apply_local(needed) {
            Ok(()) if needed.out => {
                tracing::info!("attached to what the host itself sends");
            }
            Ok(()) => tracing::info!("detached from what the host itself sends"),
            Err(error) => tracing::error!(%error, "attaching to what the host itself sends"),
        }
    }

    /// Detaches all of the programs.
    pub(crate) fn detach_local(&self) -> Result<(), OpenError> {
        let links = self.pins.links();
        for (interface, _) in &self.interfaces {
            if attach::tc_attached(interface, &links, OUT) {
                attach::tc_detach(interface, &links, OUT)?;
            }
        }
        if attach::tc_attached(&attach::loopback(), &links, LOOPBACK) {
            attach::tc_detach(&attach::loopback(), &links, LOOPBACK)?;
        }
        Ok(())
    }

    fn local_needed(&self) -> Attached {
        Attached {
            out: self.local_clients || self.rows.servers.values().any(is_translated_here),
            loopback: self.local_clients,
        }
    }

    fn apply_local(&mut self, needed: Attached) -> Result<(), OpenError> {
        let links = self.pins.links();
        if needed.loopback {
            kernel::write_sysctl(ACCEPT_LOCAL, "1")?;
            let program = object::tc_program(&mut self.object, LOCAL)?;
            attach::tc(program, &attach::loopback(), &links, LOOPBACK)?;
        }
        if needed.out {
            for (interface, _) in &self.interfaces {
                let name = if self.headless.contains(&interface.ifindex) {
                    LOCAL_L3
                } else {
                    LOCAL
                };
                let program = object::tc_program(&mut self.object, name)?;
                attach::tc(program, interface, &links, OUT)?;
            }
        }
        if !needed.out {
            self.detach_local()?;
        } else if !needed.loopback && attach::tc_attached(&attach::loopback(), &links, LOOPBACK) {
            attach::tc_detach(&attach::loopback(), &links, LOOPBACK)?;
        }
        self.local = needed;
        Ok(())
    }
}

/// Whether the server is on the director itself, but not where the virtual service is: its requests are rewritten,
/// and its replies leave through the host's own stack.
pub(crate) fn is_translated_here(row: &ServerRow) -> bool {
    row.hop.is_some_and(|hop| is_translated(row, hop.local))
}

/// Whether a server that is local, or not, is reached by translation all the same.
pub(crate) fn is_translated(row: &ServerRow, local: bool) -> bool {
    local
        && row.server.method() == rvs_config::Method::Nat
        && row
            .service
            .is_some_and(|key| key.socket_addr() != Some(row.server.socket_addr()))
}
