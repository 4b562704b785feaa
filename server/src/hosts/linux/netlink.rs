//! Addresses, routes and links over rtnetlink, from within a namespace.

use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use thiserror::Error;

/// An interface that is to be configured and brought up.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether everything without a better route goes through it.
    pub default_route: bool,
}

/// A netlink request failed.
#[derive(Debug, Error)]
#[error("netlink: cannot {operation}: {reason}")]
pub struct NetlinkError {
    operation: String,
    reason: String,
}

/// How many packets may wait in a TUN device for the wire to read them: enough for the largest
/// congestion window of an experiment, so that no packet is lost where nobody sees it.
const QUEUE_PACKETS: u32 = 20_000;

/// Brings up the loopback interface and `interface` in the calling thread's network namespace.
///
/// Blocks for as long as the kernel takes, usually less than a millisecond.
///
/// # Errors
/// [`NetlinkError`] names the request and what the kernel said.
pub fn configure(interface: &Interface) -> Result<(), NetlinkError> {
    let fail = |operation: &str| {
        let operation = operation.to_owned();
        move |error: &dyn std::fmt::Display| NetlinkError {
            operation,
            reason: error.to_string(),
        }
    };
    // The netlink socket belongs to the namespace of the thread that opens it, so the runtime is
    // one of this thread alone.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| fail("start")(&error))?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| fail("open a socket")(&error))?;
        let pump = tokio::spawn(connection);

        let loopback = LinkUnspec::new_with_name("lo").up().build();
        handle
            .link()
            .set(loopback)
            .execute()
            .await
            .map_err(|error| fail("bring up lo")(&error))?;

        let name = &interface.name;
        let link = handle
            .link()
            .get()
            .match_name(name.clone())
            .execute()
            .try_next()
            .await
            .map_err(|error| fail(&format!("find {name}"))(&error))?
            .ok_or_else(|| fail(&format!("find {name}"))(&"there is no such link"))?;
        let index = link.header.index;
        handle
            .address()
            .add(index, interface.address.into(), interface.prefix)
            .execute()
            .await
            .map_err(|error| fail(&format!("give {name} {}", interface.address))(&error))?;
        let up = LinkUnspec::new_with_index(index)
            .mtu(interface.mtu)
            .append_extra_attribute(rtnetlink::packet_route::link::LinkAttribute::TxQueueLen(
                QUEUE_PACKETS,
            ))
            .up()
            .build();
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(|error| fail(&format!("bring up {name}"))(&error))?;
        if interface.default_route {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .output_interface(index)
                .build();
            handle
                .route()
                .add(route)
                .execute()
                .await
                .map_err(|error| fail(&format!("route through {name}"))(&error))?;
        }
        pump.abort();
        Ok(())
    })
}
