//! SIP over UDP (RFC 3261), as much of it as calls through a director need: user agents that answer requests, and send
//! them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::echo::UdpEcho;
use crate::error::{LabError, Result};
use crate::host::Host;

/// Answers every SIP request but ACK by "200 OK", with the host's name in `Server`. Ends when dropped.
#[derive(Debug)]
pub struct SipServer {
    _answers: UdpEcho,
}

impl SipServer {
    /// Starts the service on a host's port.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let answers = UdpEcho::answering(host, port, respond)?;
        Ok(Self { _answers: answers })
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipAnswer {
    /// The status.
    pub status: u16,
    /// Who answered.
    pub server: String,
}

impl Host {
    /// Sends a request of the call `call`, whose id is written in the header line `header` ("Call-ID: %"), and waits for
    /// the answer, from `peer` and of the same call.
    pub fn sip_request(
        &self,
        source: Option<SocketAddr>,
        peer: SocketAddr,
        method: &str,
        header: &str,
        call: &str,
        timeout: Duration,
    ) -> Result<SipAnswer> {
        let id = header.replace('%', call);
        let text = format!(
            "{method} sip:bob@{peer} SIP/2.0\r\n\
             Via: SIP/2.0/UDP client;rport;branch=z9hG4bK{call}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:alice@example.net>;tag=1\r\n\
             To: <sip:bob@example.net>\r\n\
             {id}\r\n\
             CSeq: 1 {method}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let answer = self.udp_exchange(source, peer, &text, timeout)?;
        understood(&answer, &id).ok_or_else(|| LabError::Answer {
            place: self.name().to_owned(),
            what: format!("no answer to {method} of call {call}: {answer:?}"),
        })
    }
}

/// The headers that an answer takes from the request (RFC 3261 section 8.2.6.2).
const COPIED: [&str; 6] = ["via", "from", "to", "call-id", "i", "cseq"];

fn respond(name: &str, request: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(request).ok()?;
    let (first, headers) = text.split_once("\r\n")?;
    if first.starts_with("SIP/2.0 ") || first.starts_with("ACK ") {
        return None;
    }
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    let mut copies = false;
    for line in headers.split("\r\n").take_while(|line| !line.is_empty()) {
        if !line.starts_with([' ', '\t']) {
            let header = line.split(':').next()?.trim().to_ascii_lowercase();
            copies = COPIED.contains(&header.as_str());
        }
        if copies {
            answer.push_str(line);
            answer.push_str("\r\n");
        }
    }
    answer.push_str(&format!("Server: {name}\r\nContent-Length: 0\r\n\r\n"));
    Some(answer.into_bytes())
}

fn understood(answer: &str, id: &str) -> Option<SipAnswer> {
    let status = answer.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    let is_of_call = answer.contains(&format!("\r\n{id}\r\n"));
    let mut lines = answer.split("\r\n");
    let server = lines.find_map(|line| line.strip_prefix("Server: "))?;
    is_of_call.then(|| SipAnswer {
        status,
        server: server.to_owned(),
    })
}
