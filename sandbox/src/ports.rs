//! The six ports of a landscape. They are opened first, so that all addresses are known before
//! anything answers. Called by `lib` at start.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::part::{Addresses, PerPart};

/// The six open ports. Nothing answers there yet.
pub(crate) struct BoundPorts {
    pub(crate) parts: PerPart<TcpListener>,
    pub(crate) levers: TcpListener,
}

impl BoundPorts {
    /// Opens the ports above a base, or free ports.
    pub(crate) async fn bind(base: Option<u16>) -> io::Result<Self> {
        Ok(Self {
            parts: PerPart {
                destination: bind(base, 1).await?,
                xsuaa: bind(base, 2).await?,
                uaa: bind(base, 3).await?,
                cf: bind(base, 4).await?,
                ias: bind(base, 6).await?,
            },
            levers: bind(base, 5).await?,
        })
    }

    /// Returns the addresses of the ports.
    pub(crate) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            destination: self.parts.destination.local_addr()?,
            xsuaa: self.parts.xsuaa.local_addr()?,
            uaa: self.parts.uaa.local_addr()?,
            cf: self.parts.cf.local_addr()?,
            ias: self.parts.ias.local_addr()?,
            levers: self.levers.local_addr()?,
        })
    }
}

/// Opens the port `base + above`, or a free one, on loopback only.
async fn bind(base: Option<u16>, above: u16) -> io::Result<TcpListener> {
    let port = base.map_or(Some(0), |base| base.checked_add(above));
    let Some(port) = port else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the port base is too high"));
    };
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let in_use = error.kind() == io::ErrorKind::AddrInUse;
        let what = if in_use { "is in use" } else { "cannot be opened" };
        io::Error::new(error.kind(), format!("port {port} {what}"))
    })
}
