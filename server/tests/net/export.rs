//! Exports of real runs, read by the programs that they are made for: Wireshark's tshark reads the
//! capture, agrees with the record packet by packet, and decrypts TLS with the secrets in it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use linger::{
    endpoints::{Authority, Connection, ReadOutcome, TlsClient, TlsOptions, TlsServer},
    experiments::{Experiment, Script},
    export::{self, Format},
    lab::{Lab, LabError, Plan},
    runs::{Config, Manager, Visitor},
};
use linger_shared::{
    event::{Event, Fact, HandshakeKind, Header, HostName, Mode, TlsHandshake, from_hex},
    experiment::{Descriptor, Params},
    protocol::{RunInfo, RunState},
};

use crate::observed::request;

/// One way, in microseconds.
const DELAY_US: u64 = 10_000;

/// What the client asks for.
const TARGETS: [&str; 3] = ["/first", "/second?with=query", "/third"];

/// Requests over TLS; the second response is lost once on its way.
struct Exchange {
    tls: TlsOptions,
}

impl Experiment for Exchange {
    fn id(&self) -> &'static str {
        "test-exchange"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Requests over TLS".to_owned(),
            question: "Can it be decrypted?".to_owned(),
            family: "TLS".to_owned(),
            modes: vec![Mode::Packets],
            explanation: Vec::new(),
            look_for: Vec::new(),
            misconception: String::new(),
            params: Vec::new(),
            presets: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    fn plan(&self, _: &Params) -> Plan {
        Plan::symmetric(DELAY_US, 5_000_000)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, _: &'a Params) -> Script<'a> {
        Box::pin(self.script(lab))
    }
}

impl Exchange {
    async fn script(&self, lab: &mut Lab) -> Result<(), LabError> {
        let authority = Authority::new()?;
        let server = TlsServer::new(&lab.server(), &authority, &self.tls)?;
        let client = TlsClient::new(&lab.client(), &authority, &self.tls)?;
        let unmet = |error: std::io::Error| LabError::Unmet(error.to_string());

        lab.chapter("Shake hands");
        let listener = lab.server().listen(443).await?;
        let (near, far, _) = Connection::pair(&lab.client(), &listener, None).await?;
        let (near, far) = tokio::join!(client.handshake(near), server.handshake(far));
        let (mut near, mut far) = (near.map_err(unmet)?, far.map_err(unmet)?);

        for (number, target) in TARGETS.iter().enumerate() {
            lab.chapter(&format!("Ask for {target}"));
            let request = format!("GET {target} HTTP/1.1\r\nHost: server\r\n\r\n");
            near.write(request.as_bytes()).await?;
            far.read_exactly(request.len()).await?;
            let cut = (number == 1).then(|| lab.cut(&[HostName::Server]));
            let body = format!("{target} it is");
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            far.write(response.as_bytes()).await?;
            if cut.is_some() {
                // The kernel sends it again before long, to a path that is whole.
                tokio::time::sleep(Duration::from_millis(15)).await;
                drop(cut);
            }
            near.read_exactly(response.len()).await?;
        }

        lab.chapter("Close");
        near.close().await;
        match far.read().await {
            ReadOutcome::End => far.close().await,
            other => return Err(LabError::Unmet(format!("no close_notify: {other:?}"))),
        }
        lab.until_closed(Duration::from_secs(5)).await;
        Ok(())
    }
}

/// A run as it is recorded.
struct Recorded {
    header: Header,
    lines: Vec<Arc<str>>,
    events: Vec<Event>,
}

async fn recorded(manager: &Manager, run: &RunInfo) -> Recorded {
    let log = manager.log(&run.id).expect("the recordings are read");
    let log = log.expect("a started run has a log");
    let mut changes = log.subscribe();
    let over = changes.wait_for(|progress| progress.state.is_over()).await;
    let state = over.expect("the log outlives its readers").state;
    let lines = log
        .fetch(0, usize::MAX, usize::MAX)
        .await
        .expect("the events are read");
    let read = |line: &Arc<str>| serde_json::from_str(line).expect("an event reads back");
    let events: Vec<Event> = lines.iter().map(read).collect();
    assert_eq!(state, RunState::Finished, "{:?}", events.last());
    Recorded {
        header: log.header().expect("a finished run has a header"),
        lines,
        events,
    }
}

async fn exchange(tls: TlsOptions) -> Recorded {
    let manager = Manager::new(Config::default()).expect("a manager without a data folder");
    let experiment = Arc::new(Exchange { tls });
    let params = experiment
        .descriptor()
        .resolve(&BTreeMap::new())
        .expect("it takes none");
    let run = manager
        .start_own(experiment, params, Some(1), Some(Mode::Packets))
        .expect("the run starts");
    recorded(&manager, &run).await
}

/// A file that goes with the test.
struct Exported(PathBuf);

impl Exported {
    fn new(run: &Recorded, format: Format) -> Self {
        let name = format!(
            "linger-{}-{}.{}",
            process::id(),
            run.header.run,
            format.extension()
        );
        let path = env::temp_dir().join(name);
        let mut bytes = Vec::new();
        export::write(format, &run.header, &run.lines, &mut bytes).expect("the run is exported");
        fs::write(&path, bytes).expect("the file can be written");
        Self(path)
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs one of Wireshark's programs, which must not complain: the `tshark` that `TSHARK` names, or
/// the one on PATH, and what is installed beside it.
fn wireshark(program: &str, arguments: &[&str]) -> String {
    let named = env::var_os("TSHARK").map(PathBuf::from);
    let path = named.map_or_else(|| program.into(), |tshark| tshark.with_file_name(program));
    let output = Command::new(path)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; Debian's package is tshark"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.starts_with("Running as user"))
        .collect();
    assert!(
        output.status.success() && complaints.is_empty(),
        "{program} {arguments:?}: {complaints:?}"
    );
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}

/// Fields of every packet that a filter lets through, a line each.
fn fields(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let file = file.to_str().expect("a path that is text");
    let mut arguments = vec!["-r", file, "-n", "-T", "fields", "-E", "aggregator=^"];
    arguments.extend(["-o", "tcp.relative_sequence_numbers:FALSE"]);
    if !filter.is_empty() {
        arguments.extend(["-Y", filter]);
    }
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    wireshark("tshark", &arguments)
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// A packet on an interface, as the record has it.
#[derive(Debug, PartialEq)]
struct Seen {
    host: HostName,
    outbound: bool,
    id: u64,
    /// Microseconds since 1970.
    unix_us: u64,
    length: usize,
    src: String,
    dst: String,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: String,
}

fn seen(host: HostName, outbound: bool, id: u64, unix_us: u64, bytes: &[u8]) -> Seen {
    let header = usize::from(bytes[0] & 15) * 4;
    let tcp = &bytes[header..];
    let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().expect("four bytes"));
    let end = |address: usize, port: usize| {
        let ip: Vec<String> = bytes[address..address + 4]
            .iter()
            .map(ToString::to_string)
            .collect();
        let port = u16::from_be_bytes([tcp[port], tcp[port + 1]]);
        format!("{}:{port}", ip.join("."))
    };
    Seen {
        host,
        outbound,
        id,
        unix_us,
        length: bytes.len(),
        src: end(12, 0),
        dst: end(16, 2),
        flags: tcp[13],
        seq: number(4),
        ack: number(8),
        payload: to_hex(&tcp[usize::from(tcp[12] >> 4) * 4..]),
    }
}

/// What every interface must have seen, in the order of time.
fn expected(run: &Recorded) -> Vec<Seen> {
    let started = run.header.started_unix_ms * 1_000;
    let mut flying = BTreeMap::new();
    let mut all = Vec::new();
    for event in &run.events {
        let unix_us = started + event.at_us;
        match &event.fact {
            Fact::PacketDeparted(packet) => {
                let bytes = from_hex(&packet.bytes).expect("digits");
                all.push(seen(packet.from, true, packet.id, unix_us, &bytes));
                flying.insert(packet.id, (packet.to, bytes));
            }
            Fact::PacketArrived { id } => {
                let (to, bytes) = &flying[id];
                all.push(seen(*to, false, *id, unix_us, bytes));
            }
            _ => {}
        }
    }
    all.sort_by_key(|seen| seen.unix_us);
    all
}

const FIELDS: [&str; 15] = [
    "frame.interface_name",
    "frame.p2p_dir",
    "frame.packet_id",
    "frame.time_epoch",
    "frame.len",
    "frame.cap_len",
    "ip.src",
    "tcp.srcport",
    "ip.dst",
    "tcp.dstport",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.payload",
    "frame.comment",
];

/// Digits as the record has them.
fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_by_tshark(row: &[String]) -> Seen {
    let (seconds, fraction) = row[3].split_once('.').expect("nanoseconds");
    assert_eq!(fraction.len(), 9, "nanoseconds");
    assert!(
        fraction.ends_with("000"),
        "the run's clock has microseconds"
    );
    let micros = |text: &str| text.parse::<u64>().expect("a number");
    assert_eq!(row[4], row[5], "nothing is cut off");
    Seen {
        host: match row[0].as_str() {
            "client" => HostName::Client,
            "proxy" => HostName::Proxy,
            "server" => HostName::Server,
            other => panic!("interface {other}"),
        },
        outbound: row[1] == "0",
        id: micros(&row[2]),
        unix_us: micros(seconds) * 1_000_000 + micros(&fraction[..6]),
        length: row[4].parse().expect("a length"),
        src: format!("{}:{}", row[6], row[7]),
        dst: format!("{}:{}", row[8], row[9]),
        flags: u16::from_str_radix(row[10].trim_start_matches("0x"), 16).expect("flags") as u8,
        seq: row[11].parse().expect("a sequence number"),
        ack: row[12].parse().expect("a sequence number"),
        payload: row[13].clone(),
    }
}

/// Compares a run's capture with its record; gives each packet's comments.
fn compare(run: &Recorded, capture: &Path) -> Vec<(Seen, String)> {
    let rows = fields(capture, "", &FIELDS);
    let read: Vec<(Seen, String)> = rows
        .iter()
        .map(|row| {
            let comment = row.get(14).cloned().unwrap_or_default();
            (read_by_tshark(row), comment)
        })
        .collect();
    let expected = expected(run);
    assert_eq!(read.len(), expected.len());
    for (k, ((read, _), expected)) in read.iter().zip(&expected).enumerate() {
        assert_eq!(read, expected, "packet {k} of {}", run.header.run);
    }
    let broken = fields(
        capture,
        "_ws.malformed || _ws.expert.severity == error",
        &["frame.number", "_ws.expert.message"],
    );
    assert!(broken.is_empty(), "{broken:?}");
    read
}

fn handshakes(run: &Recorded) -> Vec<&TlsHandshake> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Tls(tls) => Some(&**tls),
            _ => None,
        })
        .collect()
}

/// The targets of the requests that tshark can read.
fn requests(file: &Path) -> Vec<String> {
    // Each packet is in the capture twice; the second time it is taken for a retransmission.
    fields(file, "http.request", &["http.request.uri"])
        .into_iter()
        .map(|mut row| row.remove(0))
        .collect()
}

async fn is_read_and_decrypted(tls: TlsOptions, version: &str) {
    let run = exchange(tls).await;
    for tls in handshakes(&run) {
        assert_eq!(tls.version.as_deref(), Some(version));
        assert_eq!(tls.handshake, Some(HandshakeKind::Full));
        assert_eq!(tls.alpn.as_deref(), Some("http/1.1"));
        assert_eq!(tls.server_name.as_deref(), Some("server"));
        assert_eq!(tls.error, None);
    }
    assert_eq!(handshakes(&run).len(), 2, "one for each side");

    let capture = Exported::new(&run, Format::Pcapng);
    let packets = compare(&run, &capture.0);
    assert_eq!(requests(&capture.0), TARGETS);
    let said = |words: &str| packets.iter().filter(|(_, c)| c.contains(words)).count();
    assert!(said("dropped on the wire: cut (rule `cut`), 50 % of the way") >= 1);
    assert_eq!(said("chapter: Shake hands"), 1);
    assert_eq!(
        said(&format!("client: {version} full handshake, http/1.1")),
        1
    );
    assert_eq!(
        said("server: tls_read() -> end of stream, after close_notify"),
        1
    );
    assert_eq!(said("verdict: "), 1);

    // Without the secrets nothing of it can be read.
    let blind = Exported(capture.0.with_extension("blind.pcapng"));
    let (from, to) = (capture.0.to_str().unwrap(), blind.0.to_str().unwrap());
    wireshark("editcap", &["--discard-all-secrets", from, to]);
    assert!(requests(&blind.0).is_empty());
}

#[tokio::test]
async fn a_capture_agrees_with_its_record_and_decrypts_tls_1_3() {
    is_read_and_decrypted(TlsOptions::alpn("http/1.1"), "TLS 1.3").await;
}

#[tokio::test]
async fn a_capture_agrees_with_its_record_and_decrypts_tls_1_2() {
    let options = TlsOptions {
        tls13: false,
        ..TlsOptions::alpn("http/1.1")
    };
    is_read_and_decrypted(options, "TLS 1.2").await;
}

#[tokio::test]
async fn every_experiment_is_exported_in_every_format() {
    let manager = Manager::new(Config::default()).expect("a manager without a data folder");
    let short: [(&str, &[(&str, &str)]); 3] = [
        ("tcp-lifecycle", &[]),
        (
            "tcp-dead-peer",
            &[("idle", "1s"), ("interval", "1s"), ("count", "2")],
        ),
        ("http-sequential", &[("persistent", "false")]),
    ];
    for (experiment, params) in short {
        let run = manager
            .start(&request(experiment, params), Visitor::LOCAL)
            .expect("the run starts");
        let run = recorded(&manager, &run).await;
        let capture = Exported::new(&run, Format::Pcapng);
        let packets = compare(&run, &capture.0);
        let told = packets.iter().map(|(_, comment)| comment.as_str());
        let told: Vec<&str> = told.filter(|comment| !comment.is_empty()).collect();
        assert!(told.iter().any(|comment| comment.contains("chapter: ")));
        for format in Format::ALL {
            let exported = Exported::new(&run, format);
            let length = fs::metadata(&exported.0).expect("it is there").len();
            assert!(length > 500, "{experiment} as {}", format.name());
        }
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("linger-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    /// The options that export a run in every format, and the files.
    fn exports(&self, name: &str) -> (Vec<String>, Vec<PathBuf>) {
        let file = |format: Format| self.0.join(format!("{name}.{}", format.extension()));
        let files: Vec<PathBuf> = Format::ALL.map(file).into();
        let options = Format::ALL
            .iter()
            .zip(&files)
            .flat_map(|(format, file)| {
                let file = file.to_str().expect("a path that is text");
                [format!("--{}", format.name()), file.to_owned()]
            })
            .collect();
        (options, files)
    }

    /// Runs Linger with its recordings in this folder; gives what it printed.
    fn linger(&self, arguments: &[&str], more: &[String]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(arguments)
            .args(more)
            .env("LINGER_DATA", self.0.join("data"))
            .env_remove("COLUMNS")
            .stdin(process::Stdio::null())
            .output()
            .expect("linger starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it writes UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_run_is_exported_alike_while_it_goes_on_and_from_its_recording() {
    let folder = Folder::new("alike");
    let (options, live) = folder.exports("live");
    let run = ["run", "tcp-dead-peer", "--set", "idle=1s"];
    let more = ["--set", "interval=1s", "--set", "count=1"];
    folder.linger(&[&run[..], &more].concat(), &options);
    let listed = folder.linger(&["runs", "list", "--json"], &[]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let id = listed[0]["id"].as_str().expect("a run was recorded");
    let (options, recorded) = folder.exports("recorded");
    folder.linger(&["runs", "export", id], &options);
    for (live, recorded) in live.iter().zip(&recorded) {
        let [one, other] = [live, recorded].map(|file| fs::read(file).expect("it was written"));
        assert!(one == other, "{} differs", recorded.display());
    }

    // The capture tells which probe was lost, where and why; and the client's own interface alone
    // has seen it.
    let lost = fields(
        &recorded[0],
        "frame.comment contains \"dropped on the wire\"",
        &["frame.interface_name", "tcp.len", "frame.comment"],
    );
    assert!(!lost.is_empty(), "a probe is lost");
    for row in &lost {
        assert_eq!(row[0], "client");
        assert!(row[2].contains("(rule `cut`), 50 % of the way"), "{row:?}");
    }
    let described = fields(&recorded[0], "", &["frame.interface_description"]);
    let told = format!("the client of run {id}, 192.0.2.1");
    assert_eq!(described[0], [told]);
}

#[test]
fn a_capture_has_an_interface_for_every_host() {
    let folder = Folder::new("hosts");
    let (options, files) = folder.exports("run");
    let echo = concat!(
        env!("CARGO_BIN_EXE_linger"),
        " endpoint tcp-echo --port 7654"
    );
    let relay = r#"node -e '
const net = require("net");
net.createServer((near) => {
  const far = net.connect(7654, "server");
  near.pipe(far).pipe(near);
}).listen(7654);'"#;
    let client = r#"node -e '
const socket = require("net").connect(7654, "proxy", () => socket.write("hello"));
socket.on("data", () => socket.end());'"#;
    let arguments = [
        "exec", "--server", echo, "--proxy", relay, "--client", client,
    ];
    folder.linger(&arguments, &options);
    let jsonl = fs::read_to_string(&files[1]).expect("it was written");
    let (header, lines) = jsonl.split_once('\n').expect("a header");
    let run = Recorded {
        header: serde_json::from_str(header).expect("a header"),
        lines: Vec::new(),
        events: lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect(),
    };
    let packets = compare(&run, &files[0]);
    for host in [HostName::Client, HostName::Proxy, HostName::Server] {
        let said = packets
            .iter()
            .filter(|(seen, _)| seen.host == host && seen.outbound && seen.payload == "68656c6c6f");
        assert_eq!(
            said.count(),
            if host == HostName::Proxy { 2 } else { 1 },
            "{host}"
        );
    }
    let told = packets
        .iter()
        .any(|(_, comment)| comment.contains("starts node"));
    assert!(told, "programs are told beside packets");
}
