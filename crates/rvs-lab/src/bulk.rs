//! Long transfers with hashes at both ends.

use crate::client::{
    REQUEST_TIME, check_head, connect, content_length, request, split_head, timed_out,
};
use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use crate::pattern::{BLOCK_BYTES, Pattern, hex};
use crate::service::TcpService;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

/// A service for transfers in both directions, on one TCP port. Ends when dropped.
///
/// A client's first line says `download <bytes>`, upon which it gets that many bytes of the fixed
/// stream (hash: [`crate::pattern_sha256`]), or `upload`, upon which everything up to the end of
/// its stream is hashed and answered by `<sha256> <bytes>`.
#[derive(Debug)]
pub struct Bulk {
    _service: TcpService,
}

/// A transfer that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// How many bytes the receiver got.
    pub bytes: u64,
    /// Their hash, computed by the receiver, in hexadecimal digits.
    pub sha256: String,
    /// How long it took, from connecting on.
    pub seconds: f64,
}

impl Bulk {
    /// Starts the service on a host's port.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        Ok(Self {
            _service: TcpService::start(host, port, serve)?,
        })
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BLOCK_BYTES, stream.try_clone()?);
    let mut line = String::new();
    reader.by_ref().take(64).read_line(&mut line)?;
    if let Some(bytes) = line
        .trim()
        .strip_prefix("download ")
        .and_then(|bytes| bytes.parse().ok())
    {
        let mut pattern = Pattern::new(bytes);
        loop {
            let block = pattern.next_block();
            if block.is_empty() {
                return stream.shutdown(Shutdown::Write);
            }
            stream.write_all(block)?;
        }
    }
    if line.trim() == "upload" {
        let (bytes, sha256) = hash_all(&mut reader)?;
        return stream.write_all(format!("{sha256} {bytes}\n").as_bytes());
    }
    stream.write_all(b"expected `download <bytes>` or `upload`\n")
}

impl Host {
    /// Downloads bytes from a [`Bulk`] service; fewer or other ones are an error.
    pub fn bulk_download(&self, address: SocketAddr, bytes: u64) -> Result<Transfer> {
        let transfer = self.timed(|| {
            let mut stream = open(address)?;
            stream.write_all(format!("download {bytes}\n").as_bytes())?;
            hash_all(&mut stream)
        });
        self.checked(transfer, address, "download", bytes, None)
    }

    /// Uploads bytes to a [`Bulk`] service; it is an error if it did not get exactly these.
    pub fn bulk_upload(&self, address: SocketAddr, bytes: u64) -> Result<Transfer> {
        let mut sent = String::new();
        let transfer = self.timed(|| {
            let mut stream = open(address)?;
            stream.write_all(b"upload\n")?;
            sent = Pattern::new(bytes).write_to(&mut stream)?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.take(256).read_to_string(&mut answer)?;
            let parsed = answer
                .trim()
                .split_once(' ')
                .and_then(|(hash, bytes)| Some((bytes.parse().ok()?, hash)));
            let (bytes, hash) =
                parsed.ok_or_else(|| crate::client::bad("not a hash", answer.as_bytes()))?;
            Ok((bytes, hash.to_owned()))
        });
        self.checked(transfer, address, "upload", bytes, Some(sent))
    }

    /// Downloads a path by HTTP/1.0, nginx's `/big` for instance, and hashes the body; a body
    /// shorter than promised is an error.
    pub fn http_download(&self, address: SocketAddr, path: &str) -> Result<Transfer> {
        let transfer = self.timed(|| {
            let mut stream = request(address, path)?;
            let mut head = Vec::new();
            let mut byte = [0];
            while split_head(&head).is_none() {
                stream.read_exact(&mut byte)?;
                head.extend(byte);
            }
            check_head(&head)?;
            let (bytes, hash) = hash_all(&mut stream)?;
            match content_length(&head) {
                Some(length) if length != bytes => Err(crate::client::bad(
                    &format!("{bytes} of {length} bytes came"),
                    &head,
                )),
                Some(_) | None => Ok((bytes, hash)),
            }
        });
        transfer.at(self.name(), || format!("cannot get http://{address}{path}"))
    }

    fn timed(
        &self,
        work: impl FnOnce() -> io::Result<(u64, String)> + Send,
    ) -> io::Result<Transfer> {
        let start = Instant::now();
        let (bytes, sha256) = self
            .in_namespace(work)
            .map_err(|error| io::Error::other(error.to_string()))?
            .map_err(timed_out)?;
        Ok(Transfer {
            bytes,
            sha256,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn checked(
        &self,
        transfer: io::Result<Transfer>,
        address: SocketAddr,
        what: &str,
        bytes: u64,
        sent: Option<String>,
    ) -> Result<Transfer> {
        let transfer = transfer.at(self.name(), || {
            format!("{what} of {bytes} bytes, {address}")
        })?;
        let expected = sent.unwrap_or_else(|| crate::pattern_sha256(bytes));
        if transfer.bytes == bytes && transfer.sha256 == expected {
            return Ok(transfer);
        }
        Err(LabError::Answer {
            place: self.name().to_owned(),
            what: format!(
                "{what} of {bytes} bytes, {address}: {} bytes came, sha256 {} instead of {expected}",
                transfer.bytes, transfer.sha256
            ),
        })
    }
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = connect(None, address, REQUEST_TIME)?;
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    Ok(stream)
}

fn hash_all(reader: &mut impl Read) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut bytes = 0_u64;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex(hash))),
            Ok(length) => {
                hash.update(buffer.get(..length).unwrap_or_default());
                bytes += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
