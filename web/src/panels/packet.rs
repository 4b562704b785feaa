//! The selected packet: what it is, its header's fields, and its bytes.

use linger_shared::{
    diagram::{End, Flight, brief, description, label},
    event::{Chunk, Fact, Packet, TcpInfo, from_hex},
    units::human,
};
use yew::prelude::*;

use crate::state::record::{Record, Shared};

/// How many bytes are shown; the rest is counted.
const MOST_BYTES: usize = 1_024;

/// Bytes in one row of the dump.
const ROW: usize = 8;

/// What the panel is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run's record.
    pub(crate) record: Shared,
    /// The packet's id.
    pub(crate) selected: Option<u64>,
}

/// The panel. See the module.
#[component]
pub(crate) fn SelectedPacket(props: &Props) -> Html {
    let record = props.record.borrow();
    let details = props.selected.and_then(|id| details(&record, id));
    html! {
        <section class="panel packet">
            <h2>{ "Packet" }</h2>
            { details.unwrap_or_else(|| html! {
                <p class="hint">
                    { "Select a packet: click its arrow, or step with " }
                    <kbd>{ "," }</kbd>{ " and " }<kbd>{ "." }</kbd>
                </p>
            }) }
        </section>
    }
}

fn details(record: &Record, id: u64) -> Option<Html> {
    let flight = record.model().packet(id)?;
    let event = record.event(flight.seq)?;
    let (fields, bytes) = match &event.fact {
        Fact::PacketDeparted(packet) => (packet_fields(packet), &packet.bytes),
        Fact::ChunkDeparted(chunk) => (chunk_fields(chunk), &chunk.bytes),
        _ => return None,
    };
    let bytes = from_hex(bytes).unwrap_or_default();
    Some(html! {
        <>
            <h3 class={flight.layer().as_str()}>{ label(flight) }</h3>
            <p class="sr-only">{ description(flight) }</p>
            <dl class="fields">
                { for journey(flight).into_iter().chain(fields).map(|(name, value)| html! {
                    <><dt>{ name }</dt><dd>{ value }</dd></>
                }) }
            </dl>
            { dump(&bytes, matches!(event.fact, Fact::PacketDeparted(_))) }
        </>
    })
}

type Field = (&'static str, String);

fn journey(flight: &Flight) -> Vec<Field> {
    let mut fields = vec![
        ("From", format!("{} to {}", flight.from, flight.to)),
        ("Left", human(flight.departed_us)),
    ];
    match &flight.end {
        End::InFlight => fields.push(("Arrived", "still on its way".to_owned())),
        End::Arrived { at_us, .. } => {
            let took = brief(at_us.saturating_sub(flight.departed_us));
            fields.push(("Arrived", format!("{} (after {took})", human(*at_us))));
        }
        End::Dropped {
            at_us,
            rule,
            reason,
            place,
            ..
        } => {
            fields.push(("Dropped", format!("{}: {reason}", human(*at_us))));
            fields.push((
                "By",
                format!("rule {rule}, {:.0} % of the way", place * 100.0),
            ));
        }
    }
    fields
}

fn packet_fields(packet: &Packet) -> Vec<Field> {
    let mut fields = vec![("Length", format!("{} bytes with headers", packet.length))];
    match &packet.tcp {
        Some(tcp) => fields.extend(tcp_fields(tcp)),
        None => fields.push(("Content", packet.summary.clone())),
    }
    fields
}

fn tcp_fields(tcp: &TcpInfo) -> Vec<Field> {
    let mut fields = vec![
        ("Ports", format!("{} to {}", tcp.src.port(), tcp.dst.port())),
        ("Flags", tcp.flags.replace(',', ", ")),
        ("Seq", format!("{} (raw {})", tcp.seq, tcp.seq_raw)),
        ("Ack", format!("{} (raw {})", tcp.ack, tcp.ack_raw)),
        ("Window", format!("{} bytes", tcp.window)),
        ("Payload", format!("{} bytes", tcp.payload)),
    ];
    if !tcp.options.is_empty() {
        fields.push(("Options", tcp.options.join(", ")));
    }
    fields
}

fn chunk_fields(chunk: &Chunk) -> Vec<Field> {
    vec![
        ("Content", chunk.summary.clone()),
        ("Connection", chunk.connection.to_string()),
        ("Payload", format!("{} bytes", chunk.bytes.len() / 2)),
    ]
}

/// Where the IP header and the TCP header of a packet end, as its own length fields say
/// (RFC 791, section 3.1; RFC 9293, section 3.1).
fn header_ends(bytes: &[u8]) -> (usize, usize) {
    let ip = bytes.first().map_or(0, |first| usize::from(first & 15) * 4);
    let tcp = bytes
        .get(ip + 12)
        .map_or(0, |offset| usize::from(offset >> 4) * 4);
    (ip.min(bytes.len()), (ip + tcp).min(bytes.len()))
}

fn dump(bytes: &[u8], is_packet: bool) -> Html {
    if bytes.is_empty() {
        return Html::default();
    }
    let (ip, tcp) = if is_packet {
        header_ends(bytes)
    } else {
        (0, 0)
    };
    let part = |at: usize| match at {
        _ if at < ip => "ip",
        _ if at < tcp => "tcp",
        _ => "payload",
    };
    let shown = &bytes[..bytes.len().min(MOST_BYTES)];
    let row = |(number, row): (usize, &[u8])| {
        let first = number * ROW;
        // Neighbours of one part share an element.
        let mut parts: Vec<(&str, String)> = Vec::new();
        for (offset, byte) in row.iter().enumerate() {
            let name = part(first + offset);
            match parts.last_mut() {
                Some((last, text)) if *last == name => text.push_str(&format!("{byte:02x} ")),
                _ => parts.push((name, format!("{byte:02x} "))),
            }
        }
        let padding = "   ".repeat(ROW - row.len());
        html! {
            <span class="row" key={first}>
                <span class="offset">{ format!("{first:04x}  ") }</span>
                { for parts.into_iter().map(|(class, text)| html! {
                    <span {class}>{ text }</span>
                }) }
                { format!("{padding} {}\n", printable(row)) }
            </span>
        }
    };
    html! {
        <>
            if is_packet {
                <p class="key">
                    <span class="ip">{ "IP" }</span>{ " " }
                    <span class="tcp">{ "TCP" }</span>{ " " }
                    <span class="payload">{ "payload" }</span>
                </p>
            }
            <pre class="dump scroll" tabindex="0" aria-label="The bytes">
                { for shown.chunks(ROW).enumerate().map(row) }
                if bytes.len() > shown.len() {
                    { format!("{} more bytes", bytes.len() - shown.len()) }
                }
            </pre>
        </>
    }
}

fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            32..=126 => *byte as char,
            _ => '.',
        })
        .collect()
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{panels::tests::render, state::samples};

    #[test]
    fn headers_end_where_their_length_fields_say() {
        let mut bytes = vec![0_u8; 60];
        bytes[0] = 0x45;
        bytes[32] = 0x80;
        assert_eq!(header_ends(&bytes), (20, 52));
        assert_eq!(header_ends(&bytes[..10]), (10, 10));
        assert_eq!(header_ends(&[]), (0, 0));
    }

    #[test]
    fn what_cannot_be_printed_is_a_dot() {
        assert_eq!(printable(b"GET \r\n\xff~"), "GET ...~");
    }

    #[tokio::test]
    async fn a_dropped_packet_says_when_where_and_why() {
        let mut record = Shared::new(&samples::header());
        record.push(samples::dead_peer());
        let text = render(html! { <SelectedPacket {record} selected={Some(4)} /> }).await;
        assert!(text.contains("probe 1"), "{text}");
        assert!(text.contains("2.051 s: path cut"), "{text}");
        assert!(text.contains("rule cut, 50 % of the way"));
        assert!(text.contains("1 (raw 1000001)"));
    }

    #[tokio::test]
    async fn without_a_selection_the_panel_says_how_to_make_one() {
        let record = Shared::new(&samples::header());
        let text = render(html! { <SelectedPacket {record} selected={None::<u64>} /> }).await;
        assert!(text.contains("click its arrow"));
    }
}
