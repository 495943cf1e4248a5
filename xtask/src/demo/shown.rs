//! What the demo prints, and the connections that it keeps open meanwhile.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rvs_lab::Host;

const PATIENCE: Duration = Duration::from_secs(10);

/// Prints a line or several.
pub(super) fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Prints what comes next.
pub(super) fn title(text: &str) {
    println!(
        "\n== {text} {}",
        "=".repeat(72_usize.saturating_sub(text.len()))
    );
}

/// A line of a table: wide first column.
pub(super) fn row<S: AsRef<str>>(cells: &[S]) -> String {
    cells
        .iter()
        .enumerate()
        .map(|(column, cell)| match column {
            0 => format!("{:<24}", cell.as_ref()),
            _ => format!("{:>9}", cell.as_ref()),
        })
        .collect()
}

/// An HTTP connection that stays open from request to request.
pub(super) struct KeptAlive {
    /// The client's end.
    pub(super) local: SocketAddr,
    peer: SocketAddr,
    server: String,
    stream: BufReader<TcpStream>,
}

impl KeptAlive {
    /// Connects, and asks once.
    pub(super) fn open(client: &Host, peer: SocketAddr) -> Result<Self> {
        let stream = client.connect(peer)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Self {
            local: stream.local_addr()?,
            peer,
            server: String::new(),
            stream: BufReader::new(stream),
        };
        connection.server = connection.exchange()?;
        Ok(connection)
    }

    /// Asks again; the same server must answer.
    pub(super) fn ask(&mut self) -> Result<()> {
        let answer = self
            .exchange()
            .with_context(|| format!("connection from {} to {}", self.local, self.peer))?;
        ensure!(
            answer == self.server,
            "the connection from {} to {} went to {} and now to {answer}",
            self.local,
            self.peer,
            self.server
        );
        Ok(())
    }

    fn exchange(&mut self) -> Result<String> {
        let request = format!("GET /id HTTP/1.1\r\nHost: {}\r\n\r\n", self.peer);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "the connection ended"
            );
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?.trim().to_owned())
    }
}
